// Checks the invariants of a graph.
#pragma once

#include "ir/graph.h"

namespace modulize {

/// Throws Error(VerifierError) naming the invariant's number and the node. The numbered list stands in verifier.cpp.
void verify(const Graph& graph);

}  // namespace modulize
