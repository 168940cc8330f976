// The functions of ours that graphs name: ir/runtime_calls.def as constants and as a table.
#pragma once

#include <span>
#include <string_view>

#include "ir/effects.h"
#include "ir/graph.h"

namespace modulize {

enum class RuntimeForm : std::uint8_t { graph, capture, context, source };

enum class RuntimeRole : std::uint8_t {
  value,           // read by somebody, or dead
  check,           // raises unless args[0] is what args[1] expects; args[2] says what that is, for people
  leak,            // the same, and more about it; a question to the captures: none is left when they are done
  guard,           // raises on another condition; yields nothing
  statement,       // acts, or raises, whether or not somebody reads what it yields
  branch_bracket,  // ir/control.h
  block_bracket,   // ir/blocks.h
};

struct RuntimeCall {
  std::string_view name;  // "modulize._runtime.check"
  RuntimeForm form;
  RuntimeRole role;
  Effects effects;
};

#define RUNTIME_CALL(constant, spelling, form, role, effects) inline constexpr std::string_view k##constant = spelling;
#include "ir/runtime_calls.def"
#undef RUNTIME_CALL

/// In the order of the .def file.
std::span<const RuntimeCall> runtime_calls();
/// Null for what is none.
const RuntimeCall* find_runtime_call(std::string_view name);
/// Null for a node that calls none.
inline const RuntimeCall* find_runtime_call(const Node& node) {
  if (node.op != Opcode::call_function || !node.target.starts_with("modulize.")) return nullptr;
  return find_runtime_call(std::string_view(node.target));
}

inline bool is_call_of(const Node& node, std::string_view target) {
  return node.op == Opcode::call_function && node.target == target;
}
inline bool has_role(const Node& node, RuntimeRole role) {
  const RuntimeCall* call = find_runtime_call(node);
  return call && call->role == role;
}
/// True for the checks of assumptions: args are the value, what it must be, a text for people, and perhaps the place in
/// the user's source, "file:line", which is the node's own.
inline bool is_check(const Node& node) { return has_role(node, RuntimeRole::check); }
/// True for the checks, and for what raises on a condition of another form.
inline bool is_check_or_guard(const Node& node) {
  const RuntimeCall* call = find_runtime_call(node);
  return call && (call->role == RuntimeRole::check || call->role == RuntimeRole::guard);
}

}  // namespace modulize
