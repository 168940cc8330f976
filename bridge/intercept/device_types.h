// Where tensors are, as Python asks for it.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// `x.device.type` of a recorded tensor, while a capture runs, is a text that the recorder knows by identity. A model
/// on the meta device runs elsewhere later: there it is that of the CPU, and what Python decides by it is an
/// assumption.
void patch_device_type(Patches& patches);

}  // namespace modulize
