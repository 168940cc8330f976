// A module that is called n times becomes n modules: quantizers keep one range a module.
//
//   %a = call_module relu(%x)
//   %b = call_module relu(%a)
// ==>
//   module module_relu_1 = copy relu for relu
//   %a = call_module relu(%x)
//   %b = call_module module_relu_1(%a)
//
// The copy shares the original's Parameters and buffers: tied weights stay tied, and running statistics still see every
// call, exactly as before the split. It stands beside the module that was called. Without tie_parameters it has tensors
// of its own, equal at the start: `copy conv untied for conv`.
#include <unordered_map>

#include "ir/namer.h"
#include "passes/rewrite.h"

namespace modulize {

PassResult split_reused_modules(Graph& graph, const PassContext& context) {
  std::unordered_map<std::string, NodeId> first_call;
  std::vector<NodeId> repeated;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op == Opcode::call_module && !first_call.emplace(node.target, id).second) repeated.push_back(id);
  }
  if (repeated.empty()) return {};

  const Lowerings lowerings(graph, context.options.target);
  ModuleNames names(graph, lowerings);
  for (const NodeId id : repeated) {
    const std::string original = graph[id].target;
    const ModuleSpec* spec = graph.modules.find(original);
    const std::string base = spec && !spec->base.empty() ? spec->base : std::string(split_path(original).second);
    const std::string path = names.repeat_path(graph, id, original, base);
    ModuleSpec copy;
    copy.path = path;
    copy.kind = ModuleKind::copy;
    copy.base = base;
    // A copy of a copy is one more copy of the original.
    copy.copy_of = spec && spec->kind == ModuleKind::copy ? spec->copy_of : original;
    copy.untied = !context.options.tie_parameters;
    copy.training = spec && spec->training;
    if (context.conversions) {
      context.conversions->push_back({.pass = "split_reused_modules",
                                      .from = original,
                                      .to = spec ? spec->type : std::string(),
                                      .path = path,
                                      .scope = graph.scope(graph[id].scope).path,
                                      .where = graph.where(graph[id])});
    }
    graph.modules.add(std::move(copy));
    graph[id].target = path;
  }
  return {.modified = true};
}

}  // namespace modulize
