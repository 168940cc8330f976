// Targets: whose module classes stand for operations, and how new modules are called.
//
// One class of a target is written as a short text. Parameter names are those of the op's row:
//   Divide                        a plain wrapper: takes what the function takes, a tensor first
//   Add(input, other)             takes these, the others must have their defaults
//   Concat[axis=dim](*tensors)    settings in the constructor (the form of a row's `ctor`); a list, item by item
//   FloatFunctional:add(input: tensor, other: tensor)
//                                 a method of the module is called, if the arguments are tensors (or a `number`)
//   -                             the call stays a call
// Several, with `;` between them, are tried in their order. Where a call fits none, the module of the op's row stands
// for it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ops/op_match.h"

namespace modulize {

/// How new modules are called.
enum class NamingRule : std::uint8_t {
  local,     // ir/namer.h
  torch_fx,  // after the names that torch.fx gives to nodes, ir/fx_names.h: AIMET's rule
};

/// One form of the above, taken apart.
struct TargetClass {
  std::string type;  // qualified; empty: the call stays
  std::string method;
  std::vector<CtorArgument> ctor;
  enum class Takes : std::uint8_t { anything, tensor, number };
  /// Parameters the class takes, by index; empty: all, and the first must be a tensor.
  std::vector<std::pair<std::size_t, Takes>> takes;
  bool spread = false;  // the first of them is a list, given item by item
};

/// Throws Error where `op` has no such parameter. Names without a dot are those of `package`.
std::vector<TargetClass> parse_target_classes(const Op& op, std::string_view text, std::string_view package);

struct Target {
  NamingRule naming = NamingRule::local;
  std::unordered_map<const Op*, std::vector<TargetClass>> classes;

  /// Empty where the target has no class of its own.
  std::span<const TargetClass> find(const Op& op) const;
};

/// Null for a name that is no target. "torch" is one without classes. Borrowed: as long as nobody registers the name.
const Target* find_target(std::string_view name);

/// Adds or replaces a target: `classes` are pairs of a row's call ("torch.add") and a text of the form above. Throws
/// Error where a call has no row, a text no such form, or the name is a built-in target's. Not thread-safe against
/// passes: the bridge calls both under Python's lock.
void register_target(std::string name, NamingRule naming,
                     const std::vector<std::pair<std::string, std::string>>& classes);

/// The op that a class of a target stands for, or null.
const Op* op_of_target_class(std::string_view type);

}  // namespace modulize
