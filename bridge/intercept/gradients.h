// Backward passes in forward.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// torch.autograd.backward adds to gradients: those of the model are copied before.
void patch_backward(Patches& patches);

}  // namespace modulize
