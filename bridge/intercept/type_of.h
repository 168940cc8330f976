// type() of symbols.
#pragma once

#include <vector>

#include "bridge/python/patches.h"

namespace modulize {

/// type() of a symbolic value, in code with these globals: that of a tensor, which is checked when the prepared model
/// runs.
void patch_type(Patches& patches, const std::vector<PyObject*>& globals);

}  // namespace modulize
