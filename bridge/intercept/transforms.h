// torch.vmap and torch.func.grad: their inside would be recorded as a plain computation.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// They become one node a call.
void patch_transforms(Patches& patches);
/// So do the functions that set the state of torch.
void patch_settings(Patches& patches);

}  // namespace modulize
