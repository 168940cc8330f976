// What each node yields, where the capture could not know.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace modulize {

/// The type of every node, by id: its own, or for `unknown` what follows from the op table and its operands.
/// A capture that has only proxies so converts the same nodes as one that runs. Nodes whose type still does not
/// follow stay `unknown`, which every rewrite treats as "may be a tensor".
std::vector<ValueType> value_types(const Graph& graph);

}  // namespace modulize
