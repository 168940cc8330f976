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
// What runs in the other mode of the model comes last, since torch.fx does not see it.
//
// Once a graph: after the rewrites, what was called there is no more.
#include <optional>
#include <utility>

#include "ir/control.h"
#include "ir/fx_names.h"
#include "ir/namer.h"
#include "ops/target.h"
#include "passes/pass.h"

namespace modulize {

namespace {

// The nodes on the side of a branch that the mode of its module does not take.
std::vector<bool> nodes_of_other_mode(const Graph& graph) {
  std::vector<bool> out(graph.id_limit(), false);
  std::vector<std::optional<bool>> taken;  // a branch around each; nothing where a value decides
  std::vector<bool> sides;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (is_call_of(node, kBeginIf)) {
      const Node* flag = node.args[0].is_node() ? &graph[node.args[0].as_node()] : nullptr;
      const bool is_read = flag && flag->op == Opcode::get_attr;
      const auto [path, name] = split_path(is_read ? std::string_view(flag->target) : std::string_view());
      const ModuleSpec* module = name == "training" ? graph.modules.find(path) : nullptr;
      taken.push_back(module ? std::optional(module->training) : std::nullopt);
      sides.push_back(true);
    } else if (is_call_of(node, kBeginElse)) {
      sides.back() = false;
    } else if (is_call_of(node, kEndIf)) {
      sides.pop_back();
      taken.pop_back();
    }
    for (std::size_t i = 0; i < taken.size(); ++i) out[id] = out[id] || (taken[i] && *taken[i] != sides[i]);
  }
  return out;
}

}  // namespace

PassResult name_as_torch_fx(Graph& graph, const PassContext& context) {
  const Target* target = find_target(context.options.target);
  if (!target || target->naming != NamingRule::torch_fx) return {};
  if (std::exchange(graph.named_as_torch_fx, true)) return {};
  FxNamespace space;
  std::vector<std::string> names(graph.id_limit());
  bool modified = false;
  const std::vector<bool> other_mode = nodes_of_other_mode(graph);
  for (const bool later : {false, true}) {
    for (const NodeId id : graph.order()) {
      const std::string candidate = other_mode[id] == later ? fx_candidate(graph[id]) : std::string();
      if (candidate.empty()) continue;
      names[id] = space.create_name(candidate);
      modified |= names[id] != graph[id].name;
    }
  }
  if (modified) graph.rename(names);
  return {.modified = modified};
}

}  // namespace modulize
