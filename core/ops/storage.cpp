#include "ops/storage.h"

#include <algorithm>
#include <numeric>

#include "ir/regions.h"
#include "ops/effects_of.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

enum class Alias : std::uint8_t {
  none,      // a storage of its own
  first,     // perhaps that of the first argument
  inputs,    // perhaps that of any input
  anything,  // perhaps that of any input, or one that lives on outside of the graph
};

Alias alias_of(const Graph& graph, const Node& node) {
  if (node.op == Opcode::placeholder || node.op == Opcode::get_attr) return Alias::anything;
  if (node.op == Opcode::output) return Alias::none;
  const Effects effects = effects_of(node, graph);
  if (effects.yields != Yields::may_alias) {
    if (effects.is_unknown()) return Alias::anything;
    return effects.objects >= Access::writes ? Alias::inputs : Alias::none;  // what is stored may be read there
  }
  if (node.op == Opcode::call_module || node.find_kwarg("out")) return Alias::inputs;
  if (const OpSpelling* spelling = find_op(node)) return spelling->writes_first ? Alias::first : Alias::inputs;
  if (const PassiveRow* row = find_passive(node)) {
    if (row->call == "Tensor.set_") return Alias::inputs;  // the first argument takes the storage of the second
    // broadcast_tensors, meshgrid and the like take any number of tensors.
    return row->result != ValueType::tensor && node.op == Opcode::call_function ? Alias::inputs : Alias::first;
  }
  return Alias::inputs;
}

/// `x.data`: the memory of x, without its history and without its count of writes.
bool is_data_of(const Node& node) {
  return node.op == Opcode::call_function && node.target == "builtins.getattr" && node.args.size() == 2 &&
         node.args[1] == Value::string("data");
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

std::vector<bool> written_storage_is_read(const Graph& graph, const std::vector<ValueType>& types) {
  const std::size_t n = graph.id_limit();
  Groups groups(n);
  std::vector<std::uint32_t> last_use(n, 0);  // position in the order, from 1
  const auto has_storage = [&](NodeId id) { return types[id] != ValueType::number && types[id] != ValueType::size; };
  std::uint32_t position = 0;
  for (const NodeId id : graph.order()) {
    ++position;
    const Node& node = graph[id];
    node.for_each_input([&](NodeId in) { last_use[in] = position; });
    if (!has_storage(id)) continue;
    const auto join = [&](NodeId in) {
      if (has_storage(in)) groups.join(in, id);
    };
    const Alias alias = alias_of(graph, node);
    if (alias == Alias::first && !node.args.empty())
      node.args[0].for_each_node(join);
    else if (alias != Alias::none)
      node.for_each_input(join);
    // A backward pass reads what it has saved, and nothing tells it of a write through `data`.
    if (alias == Alias::anything || is_data_of(node)) groups.mark_living_on(id);
  }

  // A write under another gradient mode than the storage was made under is not the out-of-place operation: `with
  // torch.no_grad(): y.add_(1)` leaves the history of y as it was. What was made without gradients has none.
  const std::vector<NodeId> regions = gradient_regions(graph);
  std::vector<NodeId> history(n, kNoNode);
  std::vector<bool> has_history(n, false), crosses(n, false);
  for (const NodeId id : graph.order()) {
    if (regions[id] != kNoNode && turns_gradients_off(graph[regions[id]])) continue;
    const NodeId group = groups.find(id);
    crosses[group] = crosses[group] || (has_history[group] && history[group] != regions[id]);
    has_history[group] = true;
    history[group] = regions[id];
  }
  const auto is_written_across = [&](NodeId id, NodeId group) {
    return crosses[group] || (has_history[group] && history[group] != regions[id]);
  };

  // For each group, the last use of its members met so far.
  std::vector<std::uint32_t> group_last_use(n, 0);
  std::vector<bool> is_read(n, false);
  position = 0;
  for (const NodeId id : graph.order()) {
    ++position;
    const Node& node = graph[id];
    if (node.op == Opcode::call_function || node.op == Opcode::call_method) {
      const Value written = node.args.empty() ? Value() : node.args[0];
      is_read[id] = !written.is_node() || groups.lives_on(written.as_node()) ||
                    is_written_across(id, groups.find(written.as_node())) ||
                    group_last_use[groups.find(written.as_node())] > position;
    }
    std::uint32_t& last = group_last_use[groups.find(id)];
    last = std::max(last, last_use[id]);
  }
  return is_read;
}

}  // namespace modulize
