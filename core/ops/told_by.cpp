#include "ops/told_by.h"

#include <algorithm>

#include "ops/effects_of.h"
#include "ops/op_match.h"
#include "ops/op_table.h"

namespace modulize {

namespace {

Node call_of(Opcode op, std::string_view target) {
  Node node;
  node.op = op;
  node.target = target;
  return node;
}

/// Element by element: a tensor without dimensions is a number like any other.
bool is_elementwise(const OpRow& row) {
  const std::string_view family = row.call;
  for (const auto rows : {arithmetic_rows(), math_rows(), activation_rows()})
    if (std::any_of(rows.begin(), rows.end(), [&](const OpRow& r) { return r.call == family; })) return true;
  return false;
}

ToldBy told_by_row(const OpRow& row) {
  if (row.sized_by_values) return ToldBy::values;
  if (row.raises == Raises::by_values) return ToldBy::indices;
  return is_elementwise(row) ? ToldBy::shapes : ToldBy::numbers;
}

/// `torch.zeros_like(x)`, `x.new_zeros(2)`: the tensor is asked for no values.
bool is_made_like(std::string_view call) {
  return call.ends_with("_like") || call == "Tensor.new_zeros" || call == "Tensor.new_ones" ||
         call == "Tensor.new_empty";
}

ToldBy told_by_row(const PassiveRow& row) {
  if (row.sized_by_values || row.tells == Tells::value || row.tells == Tells::memory) return ToldBy::values;
  if (row.tells == Tells::answer && row.reason != PassiveReason::shape && row.reason != PassiveReason::metadata)
    return ToldBy::values;
  switch (row.reason) {
    case PassiveReason::shape:
    case PassiveReason::metadata:
    case PassiveReason::converts:
      return ToldBy::shapes;
    case PassiveReason::boolean:
      return row.result == ValueType::tensor ? ToldBy::shapes : ToldBy::values;
    case PassiveReason::view:
    case PassiveReason::moves_data:
    case PassiveReason::integer:
      return ToldBy::indices;
    case PassiveReason::in_place_write:
      return ToldBy::shapes;
    case PassiveReason::recurrent:
      return ToldBy::indices;
    case PassiveReason::constructor:
      return is_made_like(row.call) ? ToldBy::numbers : ToldBy::values;
    case PassiveReason::random_constructor:
      return is_made_like(row.call) || row.may_alias ? ToldBy::numbers : ToldBy::values;
    case PassiveReason::number:
    case PassiveReason::protocol:
    case PassiveReason::autograd:
    case PassiveReason::quantized:
    case PassiveReason::sparse:
    case PassiveReason::internal:
    case PassiveReason::communication:
      return ToldBy::values;
  }
  return ToldBy::values;
}

}  // namespace

ToldBy told_by(Opcode op, std::string_view target) {
  const Node node = call_of(op, target);
  if (const OpSpelling* spelling = find_op(node))
    return spelling->op->is_registered ? ToldBy::values : told_by_row(*spelling->op->row);
  const PassiveRow* row = find_passive(node);
  return row ? told_by_row(*row) : ToldBy::values;
}

ToldBy told_by_layer(std::string_view type) {
  const Op* op = find_op_of_module(type);
  if (op) return op->is_registered ? ToldBy::values : told_by_row(*op->row);
  return type.starts_with("torch.nn.") ? ToldBy::indices : ToldBy::values;
}

bool is_sized_by_values(const Graph& graph, const Node& call) {
  if (call.op != Opcode::call_function && call.op != Opcode::call_method) return false;
  if (call.target == "operator.getitem" && call.args.size() == 2) {
    bool by_tensor = false;
    call.args[1].for_each_node([&](NodeId in) { by_tensor |= graph[in].type == ValueType::tensor; });
    return by_tensor;
  }
  if (call.target == "torch.where" || call.target == "where") return call.args.size() + call.kwargs.size() == 1;
  if (const OpSpelling* spelling = find_op(call)) return spelling->op->row->sized_by_values;
  const PassiveRow* row = find_passive(call);
  return row && row->sized_by_values;
}

std::size_t required_arguments(Opcode op, std::string_view target) {
  const OpSpelling* spelling = find_op(call_of(op, target));
  if (!spelling) return 0;
  return static_cast<std::size_t>(
      std::count_if(spelling->parameters.begin(), spelling->parameters.end(),
                    [](const Parameter& p) { return p.kind == Parameter::Kind::normal && !p.has_default; }));
}

}  // namespace modulize
