#include "report/leftovers.h"

#include <algorithm>
#include <set>

#include "ir/control.h"
#include "ir/kept_sites.h"
#include "ir/regions.h"
#include "ops/effects_of.h"
#include "ops/lowering.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

/// Ours, or a question about the world around forward: torch.compiler.is_compiling().
bool is_runtime_call(const Node& node) { return find_runtime_call(node) || asks_about_world(node); }

/// The forward of the graph's own module, called as a function.
bool calls_own_forward(const Graph& graph, const Node& node) {
  if (node.args.empty() || !node.args[0].is_node()) return false;
  const Node& self = graph[node.args[0].as_node()];
  return self.op == Opcode::get_attr && self.target == "_modulize_module";
}

// Calls `fn` for the graph, its blocks and the sides of its branches.
template <class Fn>
void for_each_graph(const Graph& graph, Fn&& fn) {
  fn(graph);
  for (const ModuleSpec& spec : graph.modules.modules())
    if (spec.kind == ModuleKind::graph)
      for_each_graph(*spec.graph, fn);
    else if (spec.kind == ModuleKind::branch)
      for (const Graph* side : {spec.graph.get(), spec.graph_else.get()}) fn(*side);
}

}  // namespace

std::vector<Leftover> leftovers_of(const Graph& graph) {
  std::vector<Leftover> out;
  const Lowerings lowerings(graph, "torch");
  // A call that yields several values yields tensors if an item of it is one.
  std::vector<bool> has_tensor_item(graph.id_limit(), false);
  for (const NodeId id : graph.order())
    if (is_call_of(graph[id], "operator.getitem") && !graph[id].args.empty() && graph[id].args[0].is_node() &&
        lowerings.types()[id] == ValueType::tensor)
      has_tensor_item[graph[id].args[0].as_node()] = true;
  const auto& specs = graph.modules.modules();
  const bool has_graphs =
      std::any_of(specs.begin(), specs.end(), [](const ModuleSpec& m) { return m.kind == ModuleKind::graph; });
  std::set<NodeId> kept_code;  // the regions that are open
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op != Opcode::call_function && node.op != Opcode::call_method) continue;
    if (enters_kept_code(node)) kept_code.insert(id);
    if (is_leave(node)) kept_code.erase(region_of_leave(node));
    const PassiveRow* row = find_passive(node);
    if ((row && !is_kept_computation(row->reason)) || is_runtime_call(node)) continue;
    if (is_enter(node) || is_leave(node) || is_bracket(node) || node.target == kSetGradients) continue;
    // Operators and builtins on numbers alone have a spelling but no op here.
    const bool mapped = find_op(node) != nullptr;
    if (mapped && !lowerings.op_of(id)) continue;
    Leftover leftover;
    leftover.node = id;
    leftover.call = !node.callee.is_none() ? (node.callee.is(ValueKind::object) ? *node.callee.as_object().label
                                                                                : std::string("a computed callable"))
                                           : node.target;
    leftover.computes = mapped || row;
    leftover.has_module = mapped;
    leftover.is_kept = !kept_code.empty() || (has_graphs && calls_own_forward(graph, node));
    const ValueType type = lowerings.types()[id];
    // dict, list and the like hold tensors that were there before.
    leftover.yields_tensor = !node.target.starts_with("builtins.") &&
                             (type == ValueType::tensor || type == ValueType::unknown || has_tensor_item[id]);
    leftover.scope = graph.scope(node.scope).path;
    leftover.where = graph.where(node);
    out.push_back(std::move(leftover));
  }
  return out;
}

std::vector<Leftover> find_leftovers(const Graph& graph) {
  std::vector<Leftover> out;
  for_each_graph(graph, [&](const Graph& g) {
    for (Leftover& leftover : leftovers_of(g)) out.push_back(std::move(leftover));
  });
  return out;
}

std::vector<std::string> find_assumptions(const Graph& graph) {
  std::vector<std::string> out;
  for_each_graph(graph, [&](const Graph& g) {
    for (const NodeId id : g.order()) {
      const Node& node = g[id];
      const std::size_t count = node.args.size();
      if (!is_check_or_guard(node) || (count != 3 && count != 4) || !node.args[2].is(ValueKind::string)) continue;
      std::string text = node.args[2].text();
      if (count == 4 && node.args[3].is(ValueKind::string)) text += " at " + node.args[3].text();
      if (std::find(out.begin(), out.end(), text) == out.end()) out.push_back(std::move(text));
    }
  });
  return out;
}

}  // namespace modulize
