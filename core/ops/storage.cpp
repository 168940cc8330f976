#include "ops/storage.h"

#include <algorithm>
#include <numeric>

#include "ops/op_match.h"

namespace modulize {

namespace {

enum class Alias : std::uint8_t {
  none,      // a storage of its own
  inputs,    // perhaps that of an input
  anything,  // perhaps that of an input, or one that lives on outside of the graph
};

const Value kNo = Value::boolean(false);

// `inplace` is null where its value is not known.
Alias alias_of_op(const Op& op, const Value* inplace) {
  const bool may_write = op.inplace && !(inplace && *inplace == kNo);
  return op.row->may_alias || may_write ? Alias::inputs : Alias::none;
}

Alias alias_of_module(const Graph& graph, std::string_view path) {
  const ModuleSpec* spec = graph.modules.find(path);
  while (spec && spec->kind == ModuleKind::copy) spec = graph.modules.find(spec->copy_of);
  if (!spec || spec->kind == ModuleKind::graph) return Alias::anything;
  if (const Op* op = find_op_of_module(spec->type)) {
    if (spec->kind != ModuleKind::constructed) return alias_of_op(*op, nullptr);
    for (const auto& [name, value] : spec->kwargs)
      if (name == "inplace") return alias_of_op(*op, &value);
    return alias_of_op(*op, spec->args.empty() ? &kNo : nullptr);
  }
  return spec->type.starts_with("torch.nn.") ? Alias::inputs : Alias::anything;
}

Alias alias_of(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Opcode::placeholder:
    case Opcode::get_attr:
      return Alias::anything;
    case Opcode::output:
      return Alias::none;
    case Opcode::call_module:
      return alias_of_module(graph, node.target);
    default:
      break;
  }
  if (node.find_kwarg("out")) return Alias::inputs;
  if (const OpSpelling* spelling = find_op(node)) {
    if (spelling->writes_first) return Alias::inputs;
    const auto bound = bind_arguments(*spelling, node);
    if (!bound) return Alias::inputs;
    const Op& op = *spelling->op;
    return alias_of_op(op, op.inplace ? &bound->values[*op.inplace] : nullptr);
  }
  if (const PassiveRow* row = find_passive(node)) return row->may_alias ? Alias::inputs : Alias::none;
  return Alias::anything;
}

// Groups of nodes that may share a storage.
class Groups {
 public:
  explicit Groups(std::size_t n) : parent_(n), lives_on_(n, false) { std::iota(parent_.begin(), parent_.end(), 0u); }
  NodeId find(NodeId id) {
    while (parent_[id] != id) id = parent_[id] = parent_[parent_[id]];
    return id;
  }
  void join(NodeId a, NodeId b) {
    a = find(a), b = find(b);
    if (a == b) return;
    parent_[b] = a;
    lives_on_[a] = lives_on_[a] || lives_on_[b];
  }
  void mark_living_on(NodeId id) { lives_on_[find(id)] = true; }
  bool lives_on(NodeId id) { return lives_on_[find(id)]; }

 private:
  std::vector<NodeId> parent_;
  std::vector<bool> lives_on_;
};

}  // namespace

std::vector<bool> written_storage_is_read(const Graph& graph) {
  const std::size_t n = graph.id_limit();
  Groups groups(n);
  std::vector<std::uint32_t> last_use(n, 0);  // position in the order, from 1
  std::uint32_t position = 0;
  for (const NodeId id : graph.order()) {
    ++position;
    const Node& node = graph[id];
    node.for_each_input([&](NodeId in) { last_use[in] = position; });
    if (node.type == ValueType::number || node.type == ValueType::size) continue;
    const Alias alias = alias_of(graph, node);
    if (alias != Alias::none) node.for_each_input([&](NodeId in) { groups.join(in, id); });
    if (alias == Alias::anything) groups.mark_living_on(id);
  }

  // For each group, the last use of its members met so far.
  std::vector<std::uint32_t> group_last_use(n, 0);
  std::vector<bool> is_read(n, false);
  position = 0;
  for (const NodeId id : graph.order()) {
    ++position;
    const Node& node = graph[id];
    if (!node.args.empty() && (node.op == Opcode::call_function || node.op == Opcode::call_method)) {
      const Value& written = node.args[0];
      is_read[id] = !written.is_node() || groups.lives_on(written.as_node()) ||
                    group_last_use[groups.find(written.as_node())] > position;
    }
    std::uint32_t& last = group_last_use[groups.find(id)];
    last = std::max(last, last_use[id]);
  }
  return is_read;
}

}  // namespace modulize
