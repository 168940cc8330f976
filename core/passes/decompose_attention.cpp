// Scaled dot-product attention becomes what it is made of, which quantizers see step by step.
//
//   %a = call_function torch.nn.functional.scaled_dot_product_attention(%q, %k, %v, %m)
// ==>
//   %t = call_method transpose(%k, -2, -1)
//   %scores = call_function torch.matmul(%q, %t)
//   %e = call_method size(%q, -1)
//   %s = call_function operator.pow(%e, -0.5)
//   %scaled = call_function torch.mul(%scores, %s)
//   %masked = call_function modulize.nn.functional.attention_mask(%scaled, %m)
//   %softmax = call_function torch.nn.functional.softmax(%masked, -1)
//   %zeroed = call_function modulize.nn.functional.zero_masked_rows(%softmax, %m)
//   %a = call_function torch.matmul(%zeroed, %v)
//
// Without a mask, the steps of the mask are not there; the mask may be bool, float or None at run time. With dropout_p,
// `F.dropout(..., p, True)` stands before the last step, and `p if self.training else 0.0` becomes a dropout that
// follows the mode. With enable_gqa, keys and values are repeated.
//
// Only with the option decompose_attention. A call whose scale or enable_gqa is known at run time only stays.
#include <tuple>

#include "ir/control.h"
#include "ops/op_match.h"
#include "passes/pass.h"

namespace modulize {

namespace {

struct Attention {
  Value query, key, value, mask, dropout, is_causal, scale;
  bool repeats = false;
};

bool is_number(const Value& value) { return value.is(ValueKind::integer) || value.is(ValueKind::floating); }
bool is_zero(const Value& value) { return value == Value::floating(0.0) || value == Value::integer(0); }

std::optional<Attention> match(const Graph& graph, const Node& node) {
  if (node.op != Opcode::call_function) return std::nullopt;
  const OpSpelling* spelling = find_op(node);
  if (!spelling || spelling->op->row->call != "F.scaled_dot_product_attention") return std::nullopt;
  const auto bound = bind_arguments(*spelling, node);
  if (!bound) return std::nullopt;
  Attention a;
  const auto value = [&](std::string_view name) { return bound->values[*spelling->op->find_parameter(name)]; };
  a.query = value("query");
  a.key = value("key");
  a.value = value("value");
  a.mask = value("attn_mask");
  a.dropout = value("dropout_p");
  a.is_causal = value("is_causal");
  for (const auto& [name, given] : bound->var_kwargs) {
    if (name == "scale") {
      a.scale = given;
    } else if (name == "enable_gqa" && given.is(ValueKind::boolean)) {
      a.repeats = given.as_boolean();
    } else {
      return std::nullopt;
    }
  }
  if (!a.query.is_node() || !a.key.is_node() || !a.value.is_node()) return std::nullopt;
  const bool scale_is_known = a.scale.is_none() || is_number(a.scale) ||
                              (a.scale.is_node() && graph[a.scale.as_node()].type == ValueType::number);
  if (!scale_is_known) return std::nullopt;
  return a;
}

/// Writes nodes in front of one.
class Writer {
 public:
  Writer(Graph& graph, NodeId before) : graph_(graph), before_(before) {}

  Value function(std::string target, ValueList args, ValueType type = ValueType::tensor) {
    return add(Opcode::call_function, std::move(target), std::move(args), type);
  }
  Value method(std::string target, ValueList args, ValueType type = ValueType::tensor) {
    return add(Opcode::call_method, std::move(target), std::move(args), type);
  }
  Value size(const Value& of, int dimension) {
    return method("size", {of, Value::integer(dimension)}, ValueType::number);
  }

 private:
  Value add(Opcode op, std::string target, ValueList args, ValueType type) {
    Node node;
    node.op = op;
    node.target = std::move(target);
    node.args = std::move(args);
    node.type = type;
    node.scope = graph_[before_].scope;
    node.source = graph_[before_].source;
    return Value::node(graph_.insert_before(before_, std::move(node)));
  }

  Graph& graph_;
  const NodeId before_;
};

/// `p if self.training else 0.0`: (the mode flag's node, p).
std::optional<std::pair<Value, Value>> dropout_in_training(const Graph& graph, const Value& dropout) {
  if (!dropout.is_node()) return std::nullopt;
  const Node& node = graph[dropout.as_node()];
  if (!is_call_of(node, kSelect) || node.args.size() != 3) return std::nullopt;
  const auto& [condition, on_true, on_false] = std::tie(node.args[0], node.args[1], node.args[2]);
  if (!condition.is_node() || on_true.is_node() || !is_zero(on_false)) return std::nullopt;
  NodeId flag = condition.as_node();
  if (is_call_of(graph[flag], kTruth) && graph[flag].args.size() == 1 && graph[flag].args[0].is_node())
    flag = graph[flag].args[0].as_node();
  const Node& read = graph[flag];
  const bool is_mode = read.op == Opcode::get_attr && (read.target == "training" || read.target.ends_with(".training"));
  if (!is_mode) return std::nullopt;
  return std::pair(Value::node(flag), on_true);
}

void open(Graph& graph, NodeId id, Attention a) {
  Writer writer(graph, id);
  if (a.repeats) {
    const Value groups =
        writer.function("operator.floordiv", {writer.size(a.query, -3), writer.size(a.key, -3)}, ValueType::number);
    for (Value* repeated : {&a.key, &a.value})
      *repeated = writer.method("repeat_interleave", {*repeated, groups, Value::integer(-3)});
  }
  const Value transposed = writer.method("transpose", {a.key, Value::integer(-2), Value::integer(-1)});
  Value weights = writer.function("torch.matmul", {a.query, transposed});
  if (a.scale.is_none())
    a.scale = writer.function("operator.pow", {writer.size(a.query, -1), Value::floating(-0.5)}, ValueType::number);
  weights = writer.function("torch.mul", {weights, a.scale});
  const bool is_causal = a.is_causal != Value::boolean(false);
  if (!a.mask.is_none() || is_causal) {
    ValueList args = {weights, a.mask};
    if (is_causal) args.push_back(a.is_causal);
    weights = writer.function("modulize.nn.functional.attention_mask", std::move(args));
  }
  weights = writer.function("torch.nn.functional.softmax", {weights, Value::integer(-1)});
  if (!a.mask.is_none()) weights = writer.function("modulize.nn.functional.zero_masked_rows", {weights, a.mask});
  if (const auto mode = dropout_in_training(graph, a.dropout))
    weights = writer.function("torch.nn.functional.dropout", {weights, mode->second, mode->first});
  else if (!is_zero(a.dropout))
    weights = writer.function("torch.nn.functional.dropout", {weights, a.dropout, Value::boolean(true)});
  Node& node = graph[id];
  node.target = "torch.matmul";
  node.args = {weights, a.value};
  node.kwargs.clear();
}

}  // namespace

PassResult decompose_attention(Graph& graph, const PassContext& context) {
  if (!context.options.decompose_attention) return {};
  bool modified = false;
  for (const NodeId id : graph.order()) {
    auto attention = match(graph, graph[id]);
    if (!attention) continue;
    open(graph, id, std::move(*attention));
    modified = true;
  }
  return {.modified = modified};
}

}  // namespace modulize
