// .mzir text -> Graph.
#pragma once

#include <string_view>

#include "ir/graph.h"

namespace modulize {

/// Containers within containers in one value, and graphs within graphs: the parser and the verifier refuse more, so
/// that no text and no model can exhaust the stack.
inline constexpr int kMaxValueDepth = 100;
inline constexpr int kMaxGraphDepth = 50;

/// Throws Error(ParseError) with `line:column: expected this, found that`. Any bytes are safe to give. What the parser
/// accepts need not pass the verifier: it checks names and the form, not the invariants.
Graph parse(std::string_view text);

}  // namespace modulize
