// Nodes without effect that nobody uses go.
//
//   %s = call_method size(%x)
//   %a = call_function torch.relu(%x)
//   output %x
// ==>
//   output %x
//
// Of a branch only those results go out that somebody reads; one without nodes and results goes as a whole. Context
// regions around nothing go too.
//
// Kept: placeholders, module calls (they may hold state), in-place writes, random draws (the next one would change),
// updates of running statistics, and calls that the table does not know.
#include <algorithm>

#include "ir/control.h"
#include "ir/regions.h"
#include "ops/effects_of.h"
#include "passes/pass.h"

namespace modulize {

namespace {

// Drops the results of a branch that nobody reads. True if there were any.
bool prune_results(Graph& graph, NodeId end, std::vector<std::uint32_t>& uses,
                   const std::vector<std::vector<NodeId>>& items) {
  const ValueList on_true = graph[end].args[1].items(), on_false = graph[end].args[2].items();
  const auto reads_an_item = [&](NodeId item) {
    const Value& at = graph[item].args[1];
    return at.is(ValueKind::integer) && at.as_integer() >= 0 &&
           static_cast<std::size_t>(at.as_integer()) < on_true.size();
  };
  std::uint32_t readers = 0;
  for (const NodeId item : items[end]) {
    if (!graph[item].alive) continue;
    ++readers;
    if (!reads_an_item(item)) return false;
  }
  if (readers < uses[end]) return false;  // something reads all of them
  std::vector<std::int64_t> index(on_true.size(), -1);
  for (const NodeId item : items[end])
    if (graph[item].alive) index[static_cast<std::size_t>(graph[item].args[1].as_integer())] = 0;
  if (std::find(index.begin(), index.end(), -1) == index.end()) return false;
  ValueList kept_true, kept_false;
  for (std::size_t i = 0; i < index.size(); ++i) {
    if (index[i] < 0) continue;
    index[i] = static_cast<std::int64_t>(kept_true.size());
    kept_true.push_back(on_true[i]);
    kept_false.push_back(on_false[i]);
  }
  graph[end].args[1] = Value::tuple(std::move(kept_true));
  graph[end].args[2] = Value::tuple(std::move(kept_false));
  for (const NodeId item : items[end])
    if (graph[item].alive)
      graph[item].args[1] = Value::integer(index[static_cast<std::size_t>(graph[item].args[1].as_integer())]);
  uses = use_counts(graph);
  return true;
}

// Drops the three brackets if nothing stands between them and nothing is read of them. True if so.
bool drop_empty_branch(Graph& graph, NodeId end) {
  if (!graph[end].args[1].items().empty() || use_counts(graph)[end] > 0) return false;
  const NodeId middle = graph[end].prev, begin = middle == kNoNode ? kNoNode : graph[middle].prev;
  if (begin == kNoNode || !is_call_of(graph[middle], kBeginElse) || !is_call_of(graph[begin], kBeginIf)) return false;
  for (const NodeId id : {end, middle, begin}) graph.erase(id);
  return true;
}

}  // namespace

PassResult dead_code(Graph& graph, const PassContext&) {
  std::vector<std::uint32_t> uses = use_counts(graph);
  std::vector<std::vector<NodeId>> items;  // end_if -> the nodes that read its results
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.target != "operator.getitem" || node.args.size() != 2 || !node.args[0].is_node()) continue;
    const NodeId from = node.args[0].as_node();
    if (!is_call_of(graph[from], kEndIf)) continue;
    if (items.empty()) items.resize(graph.id_limit());
    items[from].push_back(id);
  }
  bool modified = false;
  for (NodeId id = graph.last(); id != kNoNode;) {
    NodeId previous = graph[id].prev;
    const auto erase = [&](NodeId gone) {
      graph[gone].for_each_input([&](NodeId in) { --uses[in]; });
      graph.erase(gone);
      modified = true;
    };
    if (is_call_of(graph[id], kEndIf)) {
      if (items.empty()) items.resize(graph.id_limit());
      modified |= prune_results(graph, id, uses, items);
    } else if (is_call_of(graph[id], kBeginIf)) {
      // Its inside has been seen by now.
      const NodeId middle = graph[id].next, end = middle == kNoNode ? kNoNode : graph[middle].next;
      if (end != kNoNode && is_call_of(graph[end], kEndIf) && drop_empty_branch(graph, end)) {
        uses = use_counts(graph);
        modified = true;
      }
    } else if (is_enter(graph[id])) {
      const NodeId next = graph[id].next;
      if (next != kNoNode && is_leave(graph[next])) {
        erase(next);
        erase(id);
      }
    } else if (uses[id] == 0 && may_go_unread(graph[id], graph)) {
      erase(id);
    }
    id = previous;
  }
  return {.modified = modified};
}

}  // namespace modulize
