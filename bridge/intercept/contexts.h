// Context managers and decorators of torch that forward enters.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// Entering and leaving the context managers of torch is recorded.
void patch_contexts(Patches& patches);

}  // namespace modulize
