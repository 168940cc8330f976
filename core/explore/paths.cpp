#include "explore/paths.h"

#include <algorithm>
#include <map>
#include <utility>

#include "explore/merge.h"
#include "ir/control.h"

namespace modulize {

namespace {

/// What was taken for granted becomes a decision.
void make_decision(Graph& graph, NodeId check) {
  Node& node = graph[check];
  node.target = kTruth;
  node.type = ValueType::number;
  node.args.resize(1);
}

/// Moves the leaks before `last` behind it, in their order.
void move_leaks(Graph& graph, NodeId last) {
  const NodeId behind = graph[last].next;
  for (NodeId id = graph.first(); id != last;) {
    const NodeId next = graph[id].next;
    if (has_role(graph[id], RuntimeRole::leak)) {
      Node leak = graph[id];
      graph.erase(id);
      graph.insert_before(behind, std::move(leak));
    }
    id = next;
  }
}

}  // namespace

bool is_size_decision(const Node& node) {
  return is_call_of(node, kCheck) && node.args[0].is_node() && node.args[1].is(ValueKind::boolean);
}

std::optional<Graph> merge_paths(const Graph& first, std::vector<SizePath> paths, std::string* why) {
  std::map<NodeId, std::size_t> position;
  for (const NodeId id : first.order()) position.emplace(id, position.size());
  std::sort(paths.begin(), paths.end(),
            [&](const SizePath& x, const SizePath& y) { return position.at(x.check) > position.at(y.check); });
  Graph out = first;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const NodeId check = paths[i].check;
    Graph other = *paths[i].graph;
    const Condition condition{check, "", out[check].args[1].as_boolean()};
    for (const auto& [graph, at] : {std::pair(&out, check), std::pair(&other, paths[i].other)}) {
      move_leaks(*graph, at);
      make_decision(*graph, at);
    }
    std::optional<Merged> merged = merge(out, {{&other, [&](NodeId, NodeId) { return condition; }}}, {}, why);
    if (!merged) return std::nullopt;
    out = std::move(merged->graph);
    for (std::size_t later = i + 1; later < paths.size(); ++later)
      paths[later].check = merged->of_first.at(paths[later].check);
  }
  return out;
}

}  // namespace modulize
