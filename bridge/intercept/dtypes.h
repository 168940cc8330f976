// What forward does with dtypes past the function mode: comparisons, properties, limits.
#pragma once

#include <utility>
#include <vector>

#include "bridge/python/patches.h"

namespace modulize {

/// While one lives, comparisons of dtypes are seen. torch.dtype has none of its own.
class DtypeComparisons {
 public:
  DtypeComparisons();
  ~DtypeComparisons();
  DtypeComparisons(const DtypeComparisons&) = delete;
  DtypeComparisons& operator=(const DtypeComparisons&) = delete;
};

/// What forward asks a dtype for (`x.dtype.is_floating_point`) is an assumption.
void patch_dtype_properties(Patches& patches);
/// torch.finfo and torch.iinfo of a dtype that was read give numbers of the graph. (original, replacement) for what the
/// user's globals hold by name.
std::vector<std::pair<nb::object, nb::object>> patch_dtype_limits(Patches& patches);

}  // namespace modulize
