// The attributes of tensors that have a meaning for a graph.
#pragma once

#include <string_view>

#include "ops/op_row.h"

namespace modulize {

struct AttributeRow {
  std::string_view name;
  ValueType result;
  /// As long as the tensor lives, unless it is resized: so that it can be asked again at any time.
  bool is_fixed = false;
  Tells tells = Tells::nothing;
};

/// Null for an attribute that tensors do not have, or about which nothing is known.
const AttributeRow* find_attribute(std::string_view name);
/// The row of what a `getattr` node reads; null for any other node.
const AttributeRow* find_attribute(const Node& node);

}  // namespace modulize
