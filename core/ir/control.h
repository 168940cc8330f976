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

#include <string_view>

#include "ir/graph.h"

namespace modulize {

/// The Python bool of a tensor: where forward decided something by its value.
inline constexpr std::string_view kTruth = "modulize._runtime.truth";
inline constexpr std::string_view kBeginIf = "modulize.control.begin_if";
inline constexpr std::string_view kBeginElse = "modulize.control.begin_else";
inline constexpr std::string_view kEndIf = "modulize.control.end_if";
/// select(condition, x, y): x where the condition is true, else y; both are there already.
inline constexpr std::string_view kSelect = "modulize._runtime.select";
/// require(condition, expected, error): raises the error where the condition is not as expected.
inline constexpr std::string_view kRequire = "modulize._runtime.require";
/// check(value, expected, text): an assumption.
inline constexpr std::string_view kCheck = "modulize._runtime.check";
inline constexpr std::string_view kCheckStructure = "modulize._runtime.check_structure";
/// check_made(value, structure, text): the same of what kept code has made; where a further capture makes something
/// else, more must be kept.
inline constexpr std::string_view kCheckMade = "modulize._runtime.check_made";

/// length(list, "list", text), keys(dict, text): of an argument; they raise where it is of another kind.
inline constexpr std::string_view kLength = "modulize._runtime.length";
inline constexpr std::string_view kKeys = "modulize._runtime.keys";

/// contents(value): what is in a container now; check_unchanged(contents, value, text): an assumption.
inline constexpr std::string_view kContents = "modulize._runtime.contents";
inline constexpr std::string_view kCheckUnchanged = "modulize._runtime.check_unchanged";

/// leak(value, expected, text): Python was told the number in a way that nothing records. An assumption until a capture
/// with another number shows that it changes nothing.
inline constexpr std::string_view kLeak = "modulize._runtime.leak";

inline bool is_call_of(const Node& node, std::string_view target) {
  return node.op == Opcode::call_function && node.target == target;
}
inline bool is_length(const Node& node) { return is_call_of(node, "builtins.len") || is_call_of(node, kLength); }
/// True for the checks of assumptions.
inline bool is_check(const Node& node) {
  return is_call_of(node, kCheck) || is_call_of(node, kCheckStructure) || is_call_of(node, kCheckMade);
}
/// True for the three brackets.
inline bool is_bracket(const Node& node) {
  return node.op == Opcode::call_function && node.target.starts_with("modulize.control.");
}

}  // namespace modulize
