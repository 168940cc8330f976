// nn.Parameter(x) in forward.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// It becomes a node.
void patch_parameter(Patches& patches);

}  // namespace modulize
