// Modules that are imported while a capture runs.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// Modules that are imported meanwhile find everything as it is without a capture, and keep no replacements in their
/// tables: torch._dynamo is imported by the first call on the meta device, and compiles by what it knows of `range`.
void patch_imports(Patches& patches);

}  // namespace modulize
