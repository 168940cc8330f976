// Context managers and decorators of torch that forward enters.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// Entering and leaving the context managers of torch is recorded.
void patch_contexts(Patches& patches);

/// `x.device.type` of a recorded tensor, while a capture runs, is a text that the recorder knows by identity.
void patch_device_type(Patches& patches);

}  // namespace modulize
