// The writing of the merged graph.
#pragma once

#include "explore/nesting.h"

namespace modulize {

/// One walk over the first graph: opens and closes brackets where hunks begin and end, copies the variants' nodes into
/// them, and makes selections of the arguments that differ. Throws MergeFailure where a value would be read that is not
/// made there.
Merged emit(const Differences& differences, const Nesting& nesting, const std::vector<Requirement>& requirements);

}  // namespace modulize
