#include "ops/lowering.h"

#include <algorithm>

#include "ir/namer.h"
#include "ops/value_types.h"
#include "support/error.h"

namespace modulize {

namespace {

bool satisfies_only(const Op& op, const BoundArguments& bound) {
  return std::all_of(op.only.begin(), op.only.end(),
                     [&](const ParameterValue& p) { return bound.values[p.parameter] == p.value; });
}

bool is_only_parameter(const Op& op, std::size_t parameter) {
  return std::any_of(op.only.begin(), op.only.end(), [&](const auto& p) { return p.parameter == parameter; });
}

const Target& required_target(std::string_view name) {
  const Target* target = find_target(name);
  if (!target) throw Error(ErrorCode::ArgumentError, "no target is called '" + std::string(name) + "'");
  return *target;
}

}  // namespace

Lowerings::Lowerings(const Graph& graph, std::string_view target, bool layout_modules)
    : graph_(graph),
      target_(&required_target(target)),
      layout_modules_(layout_modules),
      types_(value_types(graph)),
      ops_(graph.id_limit(), nullptr) {
  for (const NodeId id : graph.order()) ops_[id] = decide(graph[id]);
}

bool Lowerings::is_tensor(const Value& value) const {
  if (!value.is_node()) return false;
  const ValueType type = types_[value.as_node()];
  return type == ValueType::tensor || type == ValueType::unknown;
}

bool Lowerings::is_number(const Value& value) const {
  if (value.is_node()) return types_[value.as_node()] == ValueType::number;
  return value.is(ValueKind::integer) || value.is(ValueKind::floating);
}

// Arithmetic on Python numbers and sizes is recorded as the same operators; it never becomes a module.
bool Lowerings::computes_on_tensors(const OpSpelling& spelling, const Node& node) const {
  if (node.type == ValueType::number || node.type == ValueType::size) return false;
  if (node.op == Opcode::call_method) return !node.args.empty() && is_tensor(node.args[0]);
  bool any = false;
  node.for_each_input([&](NodeId in) {
    const ValueType type = types_[in];
    any |=
        type == ValueType::tensor || type == ValueType::unknown || (type == ValueType::other && !spelling.is_operator);
  });
  return any;
}

const OpSpelling* Lowerings::spelling_of(const Node& node) const {
  const OpSpelling* spelling = find_op(node);
  return spelling || !layout_modules_ ? spelling : find_layout_op(node);
}

// `x[i]`: of a tensor, or with an index that only tensors take.
bool Lowerings::takes_item_of_tensor(const Node& node) const {
  if (node.args.size() != 2 || !node.args[0].is_node()) return false;
  const ValueType type = types_[node.args[0].as_node()];
  const Value& index = node.args[1];
  return type == ValueType::tensor || (type == ValueType::unknown && index.is(ValueKind::tuple));
}

const Op* Lowerings::decide(const Node& node) const {
  if (node.op != Opcode::call_function && node.op != Opcode::call_method) return nullptr;
  const OpSpelling* spelling = spelling_of(node);
  if (!spelling) return nullptr;
  if (!spelling->op->is_registered && !computes_on_tensors(*spelling, node)) return nullptr;
  if (spelling->op->row->layout && spelling->is_operator && !takes_item_of_tensor(node)) return nullptr;
  const auto bound = bind_arguments(*spelling, node);
  if (!bound) return nullptr;
  const Op& op = *spelling->op;
  // A torch.nn row has its run-time class to fall back on; another row has nothing beyond what it can do.
  if (!op.is_layer && !satisfies_only(op, *bound)) return nullptr;
  for (const TargetClass& own : target_->find(op))
    if (own.type.empty()) return nullptr;
  return &op;
}

// `training` as the call has it is the mode flag of the module that the call stands in.
bool Lowerings::follows_mode(const Node& node, const Value& flag) const {
  const std::string& path = graph_.scope(node.scope).path;
  if (flag.is_node()) {
    const Node& from = graph_[flag.as_node()];
    return from.op == Opcode::get_attr && from.target == join_path(path, "training");
  }
  // A literal is a setting of the user's (`F.dropout(x)` is always on), whatever mode the scope was in.
  return false;
}

const TensorSpec* Lowerings::held_tensor(const Value& value) const {
  if (!value.is_node()) return nullptr;
  const Node& node = graph_[value.as_node()];
  if (node.op != Opcode::get_attr) return nullptr;
  const TensorSpec* spec = graph_.modules.find_tensor(node.target);
  return spec && spec->kind != TensorKind::constant ? spec : nullptr;
}

bool Lowerings::adopt(const Op& op, const BoundArguments& bound, Lowering& out) const {
  for (const auto& [parameter, optional, only_with] : op.adopts) {
    const Value& value = bound.values[parameter];
    if (optional && value.is_none()) continue;
    if (only_with && bound.values[*only_with].is_none()) return false;
    const TensorSpec* tensor = held_tensor(value);
    if (!tensor) return false;
    out.adopts.emplace_back(op.parameters[parameter].name, tensor->path);
  }
  return true;
}

bool Lowerings::construct(const std::vector<CtorArgument>& ctor, const BoundArguments& bound, Lowering& out) const {
  for (const CtorArgument& argument : ctor) {
    const Value& given = bound.values[argument.parameter];
    Value value;
    switch (argument.from) {
      case CtorArgument::From::parameter:
        value = given;
        break;
      case CtorArgument::From::presence:
        value = Value::boolean(!given.is_none());
        break;
      case CtorArgument::From::dimension:
      case CtorArgument::From::dimensions: {
        const TensorSpec* tensor = held_tensor(given);
        if (!tensor || tensor->shape.size() <= argument.dimension) return false;
        if (argument.from == CtorArgument::From::dimensions) {
          ValueList sizes;
          for (std::size_t i = argument.dimension; i < tensor->shape.size(); ++i)
            sizes.push_back(Value::integer(tensor->shape[i]));
          value = Value::tuple(std::move(sizes));
          break;
        }
        std::int64_t size = tensor->shape[argument.dimension];
        if (argument.factor) {
          const Value& factor = bound.values[*argument.factor];
          if (!factor.is(ValueKind::integer)) return false;
          size *= factor.as_integer();
        }
        value = Value::integer(size);
        break;
      }
    }
    if (value.has_node()) return false;
    if (argument.default_value && value == *argument.default_value) continue;
    if (argument.default_presence && value == Value::boolean(!bound.values[*argument.default_presence].is_none()))
      continue;
    if (!argument.default_value && !argument.default_presence && out.ctor_kwargs.empty())
      out.ctor_args.push_back(std::move(value));
    else
      out.ctor_kwargs.emplace_back(argument.name, std::move(value));
  }
  return true;
}

bool Lowerings::lower_to_layer(const Node& node, const BoundArguments& bound, Lowering& out) const {
  const Op& op = *out.op;
  if (!satisfies_only(op, bound)) return false;
  if (op.mode && !follows_mode(node, bound.values[*op.mode])) return false;
  Lowering layer = out;
  if (!adopt(op, bound, layer) || !construct(op.ctor, bound, layer)) return false;
  layer.type = op.row->module;
  const auto in_ctor = [&](std::size_t i) {
    return std::any_of(op.ctor.begin(), op.ctor.end(), [&](const CtorArgument& a) {
      return a.parameter == i && a.from == CtorArgument::From::parameter;
    });
  };
  const auto adopted = [&](std::size_t i) {
    return std::any_of(op.adopts.begin(), op.adopts.end(), [&](const Adoption& a) { return a.parameter == i; });
  };
  const auto is_factor = [&](std::size_t i) {
    return std::any_of(op.ctor.begin(), op.ctor.end(), [&](const CtorArgument& a) { return a.factor == i; });
  };
  // What is left are tensors, which every layer takes in the function's order.
  for (std::size_t i = 0; i < op.parameters.size(); ++i) {
    if (in_ctor(i) || adopted(i) || is_factor(i) || op.mode == i || op.is_ignored(i) || is_only_parameter(op, i))
      continue;
    layer.args.push_back(bound.values[i]);
  }
  while (!layer.args.empty() && layer.args.back().is_none()) layer.args.pop_back();
  out = std::move(layer);
  return true;
}

bool Lowerings::lower_to_class(const TargetClass& own, BoundArguments bound, Lowering& out) const {
  const Op& op = *out.op;
  if (!satisfies_only(op, bound)) return false;
  Lowering call = out;
  // No class of a target works in place.
  if (op.inplace && bound.values[*op.inplace] == Value::boolean(true)) {
    bound.values[*op.inplace] = Value::boolean(false);
    call.writes = true;
  }
  if (!construct(own.ctor, bound, call)) return false;
  call.type = own.type;
  call.method = own.method;
  if (own.takes.empty()) {
    // A wrapper of the torch function: no scalar first operand, no operator in place of it.
    if (bound.values.empty() || !is_tensor(bound.values[0])) return false;
    bound.to_call(op, call.args, call.kwargs,
                  [&](std::size_t i) { return op.is_ignored(i) || is_only_parameter(op, i); });
    out = std::move(call);
    return true;
  }
  for (std::size_t i = 0; i < op.parameters.size(); ++i) {
    if (std::any_of(own.takes.begin(), own.takes.end(), [&](const auto& taken) { return taken.first == i; })) continue;
    if (std::any_of(own.ctor.begin(), own.ctor.end(), [&](const auto& a) { return a.parameter == i; })) continue;
    const Parameter& p = op.parameters[i];
    if (p.kind == Parameter::Kind::var_positional ? !bound.var_args.empty()
        : p.kind == Parameter::Kind::var_keyword  ? !bound.var_kwargs.empty()
                                                  : !(p.has_default && bound.values[i] == p.default_value))
      return false;
  }
  for (const auto& [i, kind] : own.takes) {
    const Value& value = bound.values[i];
    if (kind == TargetClass::Takes::tensor && !is_tensor(value)) return false;
    if (kind == TargetClass::Takes::number && !is_number(value)) return false;
    if (own.spread && i == own.takes.front().first) {
      if (!value.is(ValueKind::list) && !value.is(ValueKind::tuple)) return false;
      call.args.insert(call.args.end(), value.items().begin(), value.items().end());
    } else {
      call.args.push_back(value);
    }
  }
  out = std::move(call);
  return true;
}

Lowering Lowerings::lower(NodeId id) const {
  const Node& node = graph_[id];
  const OpSpelling& spelling = *spelling_of(node);
  const Op& op = *spelling.op;
  BoundArguments bound = *bind_arguments(spelling, node);
  Lowering out;
  out.op = &op;
  out.writes = spelling.writes_first;
  out.written = bound.values[spelling.positions[0]];
  for (const TargetClass& own : target_->find(op))
    if (lower_to_class(own, bound, out)) return out;
  if (op.is_layer && lower_to_layer(node, bound, out)) return out;
  out.type = op.run_time_class;
  const bool follows = !op.is_layer && op.mode && follows_mode(node, bound.values[*op.mode]);
  // A generated class asks its own mode flag when it is given none; a literal must not be dropped for a default then.
  if (!op.is_layer && op.mode && !follows)
    out.kwargs.emplace_back(op.parameters[*op.mode].name, bound.values[*op.mode]);
  bound.to_call(op, out.args, out.kwargs, [&](std::size_t i) {
    return op.is_ignored(i) || (!op.is_layer && (op.mode == i || is_only_parameter(op, i)));
  });
  return out;
}

}  // namespace modulize
