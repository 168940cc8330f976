#include "ir/regions.h"

namespace modulize {

namespace {

bool sets_gradients(const Node& enter) {
  if (enter.args.empty() || !enter.args[0].is(ValueKind::string)) return true;
  const std::string& name = enter.args[0].text();
  return name == "torch.no_grad" || name == "torch.enable_grad" || name == "torch.set_grad_enabled" ||
         name == "torch.inference_mode" || name.starts_with("modulize.");
}

}  // namespace

std::vector<NodeId> gradient_regions(const Graph& graph) {
  std::vector<NodeId> out(graph.id_limit(), kNoNode);
  std::vector<NodeId> open{kNoNode};
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    out[id] = open.back();
    if (is_enter(node)) open.push_back(sets_gradients(node) ? id : open.back());
    if (is_leave(node) && open.size() > 1) open.pop_back();
    if (node.target == kSetGradients) open.back() = id;
  }
  return out;
}

bool turns_gradients_off(const Node& node) {
  const Value off = Value::boolean(false);
  if (node.target == kSetGradients) return node.args.size() == 1 && node.args[0] == off;
  if (!is_enter(node) || node.args.empty() || !node.args[0].is(ValueKind::string)) return false;
  const std::string& name = node.args[0].text();
  if (name == "torch.no_grad") return true;
  const Value* mode = node.args.size() > 1 ? &node.args[1] : node.find_kwarg("mode");
  return name == "torch.set_grad_enabled" && mode && *mode == off;
}

}  // namespace modulize
