#include "ops/effects_of.h"

#include <algorithm>
#include <iterator>

#include "ir/environment_queries.h"
#include "ir/regions.h"
#include "ops/attributes.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

// Layers whose result is new, beside those the op table has rows for.
struct LayerRow {
  std::string_view name;  // in torch.nn
  Access buffers = Access::reads;
  Access generators = Access::none;
};

constexpr LayerRow kLayers[] = {
    {"BatchNorm1d", Access::writes},
    {"BatchNorm2d", Access::writes},
    {"BatchNorm3d", Access::writes},
    {"SyncBatchNorm", Access::writes},
    {"InstanceNorm1d", Access::writes},
    {"InstanceNorm2d", Access::writes},
    {"InstanceNorm3d", Access::writes},
    {"EmbeddingBag"},
    {"LSTM", Access::reads, Access::writes},
    {"GRU", Access::reads, Access::writes},
    {"RNN", Access::reads, Access::writes},
    {"LSTMCell"},
    {"GRUCell"},
    {"RNNCell"},
    {"MultiheadAttention", Access::reads, Access::writes},
    {"MaxUnpool1d"},
    {"MaxUnpool2d"},
    {"MaxUnpool3d"},
    {"ZeroPad1d"},
    {"ZeroPad2d"},
    {"ZeroPad3d"},
    {"ConstantPad1d"},
    {"ConstantPad2d"},
    {"ConstantPad3d"},
    {"ReflectionPad1d"},
    {"ReflectionPad2d"},
    {"ReflectionPad3d"},
    {"ReplicationPad1d"},
    {"ReplicationPad2d"},
    {"ReplicationPad3d"},
    {"CircularPad1d"},
    {"CircularPad2d"},
    {"CircularPad3d"},
    {"Softmax2d"},
    {"CrossMapLRN2d"},
};

constexpr std::string_view kTorchLayer = "torch.nn.";

const LayerRow* find_layer(std::string_view type) {
  if (!type.starts_with(kTorchLayer)) return nullptr;
  type.remove_prefix(kTorchLayer.size());
  const auto it =
      std::find_if(std::begin(kLayers), std::end(kLayers), [&](const LayerRow& r) { return r.name == type; });
  return it == std::end(kLayers) ? nullptr : it;
}

const Value kNo = Value::boolean(false);

// `inplace`: the value of the parameter of that name; null where it is not known.
Effects effects_of_op(const Op& op, const Value* inplace) {
  const OpRow& row = *op.row;
  Effects out{.raises = row.raises};
  if (row.random) out.generators = Access::writes;
  if (row.effect) out.arguments = Access::writes;
  if (row.may_alias) out.yields = Yields::may_alias;
  if (op.inplace && !(inplace && *inplace == kNo)) {
    out.arguments = Access::writes;
    out.yields = Yields::may_alias;
  }
  return out;
}

Effects effects_of_module(const Graph& graph, std::string_view path) {
  const ModuleSpec* spec = graph.modules.find(path);
  while (spec && spec->kind == ModuleKind::copy) spec = graph.modules.find(spec->copy_of);
  if (!spec || spec->kind == ModuleKind::graph || spec->kind == ModuleKind::branch) return kAnything;
  Effects out;
  if (const Op* op = find_op_of_module(spec->type)) {
    const Value* inplace = nullptr;
    if (spec->kind == ModuleKind::constructed) {
      for (const auto& [name, value] : spec->kwargs)
        if (name == "inplace") inplace = &value;
      if (!inplace && spec->args.empty()) inplace = &kNo;
    }
    out = effects_of_op(*op, inplace);
    out.parameters = out.buffers = op->row->effect ? Access::writes : Access::reads;
  } else if (const LayerRow* layer = find_layer(spec->type)) {
    out.parameters = Access::reads;
    out.buffers = layer->buffers;
    out.generators = layer->generators;
  } else {
    out = kAnything;
    if (spec->type.starts_with(kTorchLayer)) out.yields = Yields::may_alias;
    return out;
  }
  out.module_state = Access::unknown;
  return out;
}

Effects effects_of_reason(const PassiveRow& row) {
  Effects out;
  switch (row.reason) {
    case PassiveReason::in_place_write:
      out.arguments = Access::writes;
      break;
    case PassiveReason::random_constructor:
      out.generators = Access::writes;
      if (row.may_alias) out.arguments = Access::writes;
      break;
    case PassiveReason::protocol:
    case PassiveReason::autograd:
      out = kAnything;
      break;
    case PassiveReason::communication:
      out.globals = Access::unknown;
      [[fallthrough]];
    case PassiveReason::recurrent:
    case PassiveReason::quantized:
    case PassiveReason::sparse:
    case PassiveReason::internal:
      out.arguments = Access::unknown;
      out.generators = Access::unknown;
      break;
    default:
      break;
  }
  return out;
}

Effects effects_of_passive(const PassiveRow& row, const Node& node) {
  Effects out = effects_of_reason(row);
  if (!out.is_unknown()) out.raises = row.raises;
  const AttributeRow* attribute = find_attribute(node);
  const Tells tells = attribute ? attribute->tells : row.tells;
  const bool may_alias = attribute ? attribute->result == ValueType::tensor : row.may_alias;
  if (may_alias)
    out.yields = Yields::may_alias;
  else
    out.yields = tells == Tells::nothing ? Yields::fresh : Yields::decides;
  return out;
}

Effects effects_of_call(const Node& node) {
  Effects out;
  if (const OpSpelling* spelling = find_op(node)) {
    const Op& op = *spelling->op;
    if (op.is_registered) return kAnything;
    const auto bound = bind_arguments(*spelling, node);
    out = effects_of_op(op, bound && op.inplace ? &bound->values[*op.inplace] : nullptr);
    if (!bound) out.arguments = Access::unknown;
    if (spelling->writes_first) out.arguments = Access::writes;
    if (!bound || spelling->writes_first) out.yields = Yields::may_alias;
  } else if (const PassiveRow* row = find_passive(node)) {
    out = effects_of_passive(*row, node);
  } else {
    return kAnything;
  }
  if (const Value* written = node.find_kwarg("out"); written && !written->is_none()) {
    out.arguments = Access::writes;
    out.yields = Yields::may_alias;
  }
  return out;
}

Node call_of(Opcode op, std::string_view target) {
  Node node;
  node.op = op;
  node.target = target;
  return node;
}

}  // namespace

bool asks_about_world(const Node& node) {
  return node.op == Opcode::call_function && find_environment_query(node.target);
}

bool is_of_python(const Node& node) {
  if (node.op != Opcode::call_function) return false;
  for (const std::string_view home : {"operator.", "builtins.", "math."})
    if (node.target.starts_with(home)) return true;
  return false;
}

bool asks_for_shape(const Node& node) {
  if (const AttributeRow* attribute = find_attribute(node)) return attribute->result == ValueType::size;
  const PassiveRow* row = find_passive(node);
  return row && row->reason == PassiveReason::shape;
}

Effects effects_of(const Node& node, const Graph& graph) {
  switch (node.op) {
    case Opcode::placeholder:
    case Opcode::output:
      return {.arguments = Access::none, .yields = Yields::may_alias, .raises = Raises::never};
    case Opcode::get_attr:
      return {.arguments = Access::none,
              .module_state = Access::reads,
              .yields = Yields::may_alias,
              .raises = Raises::never};
    case Opcode::call_module:
      return effects_of_module(graph, node.target);
    case Opcode::call_function:
    case Opcode::call_method:
      break;
  }
  if (const RuntimeCall* call = find_runtime_call(node)) return call->effects;
  if (asks_about_world(node)) return {.globals = Access::reads, .yields = Yields::decides, .raises = Raises::never};
  if (is_call_of(node, kSetGradients)) return {.globals = Access::writes, .raises = Raises::never};
  return effects_of_call(node);
}

bool may_go_unread(const Node& node, const Graph& graph) {
  if (node.op == Opcode::placeholder || node.op == Opcode::output) return false;
  if (const RuntimeCall* call = find_runtime_call(node))
    return call->role == RuntimeRole::value && !call->effects.may_write();
  return !effects_of(node, graph).may_write();
}

bool may_write_memory(const Node& node, const Graph& graph) {
  return (node.op == Opcode::call_function || node.op == Opcode::call_method) &&
         effects_of(node, graph).may_write_memory();
}

Raises raises_of_call(Opcode op, std::string_view target) {
  const Node node = call_of(op, target);
  if (const RuntimeCall* call = find_runtime_call(node)) return call->effects.raises;
  if (asks_about_world(node) || is_call_of(node, kSetGradients)) return Raises::never;
  if (const OpSpelling* spelling = find_op(node))
    return spelling->op->is_registered ? kAnything.raises : spelling->op->row->raises;
  const PassiveRow* row = find_passive(node);
  return row ? row->raises : kAnything.raises;
}

Tells tells_of_call(Opcode op, std::string_view target) {
  const PassiveRow* row = find_passive(call_of(op, target));
  return row ? row->tells : Tells::nothing;
}

std::vector<std::string> functions_that_act() {
  std::vector<std::string> out;
  for (const RuntimeCall& call : runtime_calls())
    if (call.form == RuntimeForm::graph && call.role != RuntimeRole::value) out.emplace_back(call.name);
  for (const PassiveRow& row : passive_rows())
    if (row.is_statement) out.push_back(qualified_call(row.call));
  return out;
}

}  // namespace modulize
