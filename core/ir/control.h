// Control flow in a flat graph. A branch is a bracketed stretch of nodes:
//
//   %d = call_function modulize._runtime.truth(%t)
//   %if = call_function modulize.control.begin_if(%d)
//     nodes that run where %d is true
//   %else = call_function modulize.control.begin_else(%if)
//     nodes that run where it is false
//   %end = call_function modulize.control.end_if(%else, (%a, 1), (%b, 2))
//   %r = call_function operator.getitem(%end, 0)
//
// Values made on one side are read outside through end_if alone. Passes work on the flat form; `outline_branches` makes
// modules of the brackets at the end.
#pragma once

#include "ir/runtime_calls.h"

namespace modulize {

inline bool is_length(const Node& node) { return is_call_of(node, "builtins.len") || is_call_of(node, kLength); }
/// True for the three brackets.
inline bool is_bracket(const Node& node) { return has_role(node, RuntimeRole::branch_bracket); }

}  // namespace modulize
