// What stands under torch.fx.wrap.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// Functions and methods under torch.fx.wrap become one node each. Symbolic capture only.
void patch_wrapped(Patches& patches);

}  // namespace modulize
