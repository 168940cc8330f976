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

#include <string_view>

#include "ir/graph.h"

namespace modulize {

inline constexpr std::string_view kBeginBlock = "modulize.blocks.begin";
inline constexpr std::string_view kEndBlock = "modulize.blocks.end";

}  // namespace modulize
