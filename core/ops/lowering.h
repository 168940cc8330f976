// The module that computes what a call computes: every decision about a conversion, no edit.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ops/target.h"

namespace modulize {

/// A module and its call.
struct Lowering {
  const Op* op = nullptr;
  std::string type;    // qualified class
  std::string method;  // called in place of the module; empty: the module
  ValueList ctor_args;
  Kwargs ctor_kwargs;
  std::vector<std::pair<std::string, std::string>> adopts;
  ValueList args;
  Kwargs kwargs;
  /// The call writes its result into `written`, the module does not.
  bool writes = false;
  Value written;
};

/// Decides for the calls of one graph, of which it keeps a reference. op_of keeps answering for the graph as it was;
/// lower is valid until the first edit.
class Lowerings {
 public:
  Lowerings(const Graph& graph, std::string_view target, bool layout_modules = false);

  NamingRule naming() const { return target_->naming; }
  /// The op of a call that becomes a module, whichever pass does it; null where the call stays.
  const Op* op_of(NodeId id) const { return ops_[id]; }
  /// The module for a call; requires op_of(id).
  Lowering lower(NodeId id) const;
  const std::vector<ValueType>& types() const { return types_; }

 private:
  const OpSpelling* spelling_of(const Node& node) const;
  const Op* decide(const Node& node) const;
  bool takes_item_of_tensor(const Node& node) const;
  bool computes_on_tensors(const OpSpelling& spelling, const Node& node) const;
  bool follows_mode(const Node& node, const Value& flag) const;
  bool lower_to_layer(const Node& node, const BoundArguments& bound, Lowering& out) const;
  bool lower_to_class(const TargetClass& own, BoundArguments bound, Lowering& out) const;
  bool adopt(const Op& op, const BoundArguments& bound, Lowering& out) const;
  bool construct(const std::vector<CtorArgument>& ctor, const BoundArguments& bound, Lowering& out) const;
  const TensorSpec* held_tensor(const Value& value) const;
  bool is_tensor(const Value& value) const;
  bool is_number(const Value& value) const;

  const Graph& graph_;
  const Target* target_;
  bool layout_modules_;
  std::vector<ValueType> types_;
  std::vector<const Op*> ops_;
};

}  // namespace modulize
