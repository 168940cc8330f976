// Where new modules are to be named as AIMET names them, every node gets the name that torch.fx gives it: one namespace
// over all nodes in execution order. Before any rewrite and before dead code goes, as both count there.
//
//   %conv1 = call_module layer1.0.conv1(%x)
//   %div = call_function operator.truediv(%conv1, 2)
//   %sum = call_method sum(%div)
// ==>
//   %layer1_0_conv1 = call_module layer1.0.conv1(%x)
//   %truediv = call_function operator.truediv(%layer1_0_conv1, 2)
//   %sum_1 = call_method sum(%truediv)
//
// Once a graph: after the rewrites, what was called there is no more.
#include <utility>

#include "ir/fx_names.h"
#include "ops/target.h"
#include "passes/pass.h"

namespace modulize {

PassResult name_as_torch_fx(Graph& graph, const PassContext& context) {
  const Target* target = find_target(context.options.target);
  if (!target || target->naming != NamingRule::torch_fx) return {};
  if (std::exchange(graph.named_as_torch_fx, true)) return {};
  FxNamespace space;
  std::vector<std::string> names(graph.id_limit());
  bool modified = false;
  for (const NodeId id : graph.order()) {
    const std::string candidate = fx_candidate(graph[id]);
    if (candidate.empty()) continue;
    names[id] = space.create_name(candidate);
    modified |= names[id] != graph[id].name;
  }
  if (modified) graph.rename(names);
  return {.modified = modified};
}

}  // namespace modulize
