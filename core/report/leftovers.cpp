#include "report/leftovers.h"

#include <algorithm>

#include "ops/lowering.h"
#include "ops/op_match.h"

namespace modulize {

namespace {
constexpr std::string_view kCheck = "modulize._runtime.check";
}

std::vector<Leftover> find_leftovers(const Graph& graph) {
  std::vector<Leftover> out;
  const Lowerings lowerings(graph, "torch");
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op != Opcode::call_function && node.op != Opcode::call_method) continue;
    const PassiveRow* row = find_passive(node);
    if ((row && !is_kept_computation(row->reason)) || node.target == kCheck) continue;
    // Operators and builtins on numbers alone have a spelling but no op here.
    const bool mapped = find_op(node) != nullptr;
    if (mapped && !lowerings.op_of(id)) continue;
    Leftover leftover;
    leftover.call = !node.callee.is_none() ? (node.callee.is(ValueKind::object) ? *node.callee.as_object().label
                                                                                : std::string("a computed callable"))
                                           : node.target;
    leftover.computes = mapped || row;
    leftover.scope = graph.scope(node.scope).path;
    leftover.where = graph.where(node);
    out.push_back(std::move(leftover));
  }
  return out;
}

std::vector<std::string> find_assumptions(const Graph& graph) {
  std::vector<std::string> out;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.target != kCheck || node.args.size() != 3 || !node.args[2].is(ValueKind::string)) continue;
    if (std::find(out.begin(), out.end(), node.args[2].text()) == out.end()) out.push_back(node.args[2].text());
  }
  return out;
}

}  // namespace modulize
