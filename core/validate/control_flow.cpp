// A decision on tensor values: calibration with data that always takes one side leaves the other without ranges.
#include <set>

#include "ir/control.h"
#include "ops/effects_of.h"
#include "report/leftovers.h"
#include "validate/rule.h"

namespace modulize {

namespace {

/// What decides: the node that is asked for its truth, or nothing for a question about the world around forward.
bool asks_values(const Graph& graph, const Node& truth) {
  if (truth.args.empty() || !truth.args[0].is_node()) return false;
  return !asks_about_world(graph[truth.args[0].as_node()]);
}

}  // namespace

void find_control_flow(const ModelView& model, Findings& out) {
  std::set<std::string> met;
  for (const GraphPart& part : model.parts) {
    const Graph& graph = *part.graph;
    for (const Leftover& call : leftovers_of(graph))
      if (call.is_kept)
        out.push_back({FindingKind::control_flow, part.path(call.scope), call.where,
                       call.call + " runs as the Python code that it is: what the captures did not reach has no module",
                       "see report.kept; exclude what needs no modules, or rewrite what cannot be captured"});
    std::vector<bool> only_required(graph.id_limit(), true);
    for (const NodeId id : graph.order())
      if (!is_call_of(graph[id], kRequire))
        graph[id].for_each_input([&](NodeId input) { only_required[input] = false; });
    for (const NodeId id : graph.order()) {
      const Node& node = graph[id];
      if (!is_call_of(node, kTruth) || only_required[id] || !asks_values(graph, node)) continue;
      const std::string path = part.path(graph.scope(node.scope).path), where = graph.where(node);
      if (!met.insert(path + "\n" + where).second) continue;
      out.push_back({FindingKind::control_flow, path, where,
                     "forward of " + shown_path(path) + " decides by the value of a tensor: one run takes one side",
                     "calibrate with data that takes both sides; or fix the side with on_dynamic=\"specialize\""});
    }
  }
}

}  // namespace modulize
