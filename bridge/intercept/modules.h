// Calls of modules and, without inputs, their parameters and buffers.
#pragma once

#include "bridge/python/patches.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// nn.Module.__call__ (both captures), Module.__getattr__ (symbolic).
void patch_modules(Patches& patches, CaptureMode mode);

}  // namespace modulize
