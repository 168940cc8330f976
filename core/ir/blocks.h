// Calls of modules that are to stay callable (hierarchy="keep"), in a flat graph: brackets around what runs inside.
//
//   %b = call_function modulize.blocks.begin("layer1.0", (("x", "positional_or_keyword"),
//                                            ("scale", "keyword_only", 1.0)), %x, 2.0) in layer1.0
//     nodes of the call
//   %e = call_function modulize.blocks.end(%b, %relu) in layer1.0
//
// The parameters of the module's forward: name (with its stars), kind, and the default where there is one; then what
// the call gave for each. `...` stands for an object that the graph does not know the inside of. The second argument of
// `end` is what the call returned; where that is an object, a third tells what is in it: (("item", "key", %x),
// ("attribute", "name", %y)). `outline_blocks` makes graph modules of them; brackets that do not nest with those of
// branches and regions are dropped.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/runtime_calls.h"

namespace modulize {

struct BlockBrackets {
  NodeId begin, end;
};

/// The calls whose brackets nest with those of branches and regions, inner ones first.
std::vector<BlockBrackets> nested_blocks(const Graph& graph);

struct BlockParameter {
  std::string name;
  ParameterKind kind;
  Value value;
  std::optional<Value> fallback;

  bool is_starred() const { return kind == ParameterKind::var_positional || kind == ParameterKind::var_keyword; }
};

/// Of a bracket of nested_blocks. Nothing where the outcome of a decision stands in place of what a starred parameter
/// got: the calls differ in more than values; and where no function of Python's has such
/// parameters.
std::optional<std::vector<BlockParameter>> block_parameters(const Node& begin);

/// Is there a `...` in the value?
bool holds_unknown(const Value& value);
/// The value with None in place of each: a call cannot hand them on.
Value without_unknown(const Value& value);

}  // namespace modulize
