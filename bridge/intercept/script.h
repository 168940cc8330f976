// Functions that torch.jit has compiled: their inside is seen as nothing.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// They become one node a call.
void patch_script_functions(Patches& patches);

}  // namespace modulize
