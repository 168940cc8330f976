#include "ops/value_types.h"

#include "ops/attributes.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

// What the operands of an operator have among them.
struct Operands {
  bool tensor = false, unknown = false, size = false, other = false;
};

class Analysis {
 public:
  explicit Analysis(const Graph& graph)
      : graph_(graph), types_(graph.id_limit(), ValueType::unknown), holds_tensors_(graph.id_limit(), false) {}

  std::vector<ValueType> run() {
    for (const NodeId id : graph_.order()) {
      const Node& node = graph_[id];
      types_[id] = node.type == ValueType::unknown ? infer(node) : node.type;
      holds_tensors_[id] = yields_tensors(node);
    }
    return std::move(types_);
  }

 private:
  ValueType infer(const Node& node) const {
    switch (node.op) {
      case Opcode::get_attr:
        if (graph_.modules.find_tensor(node.target)) return ValueType::tensor;
        return is_mode_flag(node.target) ? ValueType::number : ValueType::unknown;
      case Opcode::call_function:
      case Opcode::call_method:
        return infer_call(node);
      case Opcode::call_module: {
        const ModuleSpec* spec = graph_.modules.find(node.target);
        const Op* op = spec ? find_op_of_module(spec->type) : nullptr;
        return op ? op->row->result : ValueType::unknown;
      }
      default:
        return ValueType::unknown;
    }
  }

  static bool is_mode_flag(std::string_view path) { return path == "training" || path.ends_with(".training"); }

  ValueType infer_call(const Node& node) const {
    const bool method = node.op == Opcode::call_method;
    // A method of something that is no tensor is another method: `size.count(..)`, `list.index(..)`.
    if (method && !node.args.empty() && !may_be_tensor(node.args[0])) return infer_number_method(node);
    if (const OpSpelling* spelling = find_op(node)) {
      if (!spelling->is_operator) return spelling->op->row->result;
      return combine(operands(node), spelling->op->row->result);
    }
    const PassiveRow* row = find_passive(node);
    if (!row) return ValueType::unknown;
    if (node.target == "operator.getitem") return infer_item(node);
    if (node.target == "builtins.getattr") return infer_attribute(node);
    if (node.target == "torch.Tensor.size" || (method && node.target == "size"))
      return node.args.size() > 1 || node.find_kwarg("dim") ? ValueType::number : ValueType::size;
    if (node.target == "stride")
      return node.args.size() > 1 || node.find_kwarg("dim") ? ValueType::number : ValueType::size;
    if (node.target == "builtins.tuple" || node.target == "builtins.list") return infer_sequence(node);
    if (row->reason == PassiveReason::number && row->result == ValueType::unknown) {
      // min, max, sum, round: of numbers, however they are given, a number.
      const ValueType type = combine(operands(node), ValueType::unknown);
      return type == ValueType::size ? ValueType::number : type;
    }
    const bool is_operator = node.target.starts_with("operator.");
    if (is_operator && (row->reason == PassiveReason::boolean || row->reason == PassiveReason::integer))
      return combine(operands(node), row->result == ValueType::number ? ValueType::number : ValueType::tensor);
    return row->result;
  }

  // A method of a number or a size: is_integer, bit_length, numel, count, index.
  ValueType infer_number_method(const Node& node) const {
    const ValueType type = types_[node.args[0].as_node()];
    return type == ValueType::number || type == ValueType::size ? ValueType::number : ValueType::unknown;
  }

  // tuple(size), list(size)
  ValueType infer_sequence(const Node& node) const {
    if (node.args.size() != 1 || !node.args[0].is_node()) return ValueType::unknown;
    const ValueType type = types_[node.args[0].as_node()];
    return type == ValueType::size || type == ValueType::other ? type : ValueType::unknown;
  }

  bool may_be_tensor(const Value& value) const {
    if (!value.is_node()) return true;
    const ValueType type = types_[value.as_node()];
    return type == ValueType::tensor || type == ValueType::unknown;
  }

  Operands operands(const Node& node) const {
    Operands out;
    const auto add = [&](NodeId in) {
      switch (types_[in]) {
        case ValueType::tensor:
          out.tensor = true;
          break;
        case ValueType::unknown:
          out.unknown = true;
          break;
        case ValueType::size:
          out.size = true;
          break;
        case ValueType::other:
          out.other = true;
          break;
        case ValueType::number:
          break;
      }
    };
    node.for_each_input(add);
    for (const Value& arg : node.args) out.size |= arg.is(ValueKind::tuple) || arg.is(ValueKind::list);
    return out;
  }

  static ValueType combine(const Operands& in, ValueType of_tensors) {
    if (in.tensor) return of_tensors;
    if (in.unknown || in.other) return ValueType::unknown;
    return in.size ? ValueType::size : ValueType::number;
  }

  // x[i] of a tensor is a tensor; of a size a number, or a size again for a slice.
  ValueType infer_item(const Node& node) const {
    if (node.args.size() < 2 || !node.args[0].is_node()) return ValueType::unknown;
    const NodeId from = node.args[0].as_node();
    switch (types_[from]) {
      case ValueType::tensor:
        return ValueType::tensor;
      case ValueType::size:
        return node.args[1].is(ValueKind::slice) ? ValueType::size : ValueType::number;
      case ValueType::other:
        if (!holds_tensors_[from]) return ValueType::unknown;
        return node.args[1].is(ValueKind::slice) ? ValueType::other : ValueType::tensor;
      default:
        return ValueType::unknown;
    }
  }

  ValueType infer_attribute(const Node& node) const {
    if (node.args.size() < 2 || !node.args[1].is(ValueKind::string)) return ValueType::unknown;
    const AttributeRow* attribute = find_attribute(std::string_view(node.args[1].text()));
    return attribute ? attribute->result : ValueType::unknown;
  }

  // True for a sequence of tensors, so that its items are tensors.
  bool yields_tensors(const Node& node) const {
    if (node.op == Opcode::call_module) {
      const ModuleSpec* spec = graph_.modules.find(node.target);
      const Op* op = spec ? find_op_of_module(spec->type) : nullptr;
      return op && op->row->result != ValueType::tensor;
    }
    if (node.op != Opcode::call_function && node.op != Opcode::call_method) return false;
    const bool passes_on =
        node.target == "operator.getitem" || node.target == "builtins.tuple" || node.target == "builtins.list";
    if (passes_on && !node.args.empty() && node.args[0].is_node()) return holds_tensors_[node.args[0].as_node()];
    const PassiveRow* row = find_passive(node);
    if (row) {
      return row->result == ValueType::other &&
             (row->reason == PassiveReason::view || row->reason == PassiveReason::moves_data);
    }
    const OpSpelling* spelling = find_op(node);
    return spelling && !spelling->op->is_registered && spelling->op->row->result != ValueType::tensor;
  }

  const Graph& graph_;
  std::vector<ValueType> types_;
  std::vector<bool> holds_tensors_;
};

}  // namespace

std::vector<ValueType> value_types(const Graph& graph) { return Analysis(graph).run(); }

}  // namespace modulize
