// torch.autograd.Function: recording the inside would lose its backward.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// Every subclass becomes one node a call.
void patch_autograd_functions(Patches& patches);

}  // namespace modulize
