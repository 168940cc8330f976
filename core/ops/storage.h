// Which in-place writes can be seen by somebody else.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace modulize {

/// For every node that writes into its first argument (`add_`, `operator.iadd`, `relu_`, ...), by id: whether a value
/// that existed before the write, and may share the written storage, is read after it. If not, the write can be
/// replaced by a result of its own:
///   %a = call_method add_(%y, 1)           %a = call_module module_add(%y, 1)
///   output %a                        ==>   output %a
/// True as well where the storage belongs to an input, a parameter, a buffer, a constant or to code the table does not
/// know: those are read after forward. Linear in the graph.
/// `types` are the graph's value types (ops/value_types.h).
std::vector<bool> written_storage_is_read(const Graph& graph, const std::vector<ValueType>& types);

}  // namespace modulize
