// torch.utils.checkpoint: recorded through, as its backward is that of its inside.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// Both kinds of it, reentrant and not.
void patch_checkpoint(Patches& patches);

}  // namespace modulize
