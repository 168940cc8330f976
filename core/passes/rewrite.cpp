#include "passes/rewrite.h"

#include "ir/namer.h"

namespace modulize {

ModuleNames::ModuleNames(const Graph& graph, const Lowerings& lowerings)
    : numbers_(call_numbers(graph, [&](const Node& node) -> std::string_view {
        const Op* op = lowerings.op_of(static_cast<NodeId>(&node - &graph[0]));
        return op ? std::string_view(op->base) : std::string_view();
      })) {}

std::string ModuleNames::path(const ModuleTree& tree, NodeId id, std::string_view parent, std::string_view base) {
  std::uint32_t from = numbers_[id];
  auto& [begin, end] = taken_[join_path(parent, base)];
  if (begin <= from && from < end) from = end;
  std::string path = new_module_path(tree, parent, base, from);
  // The number that was found in the end, from the path itself: "module_relu" is 0.
  const std::size_t stem = join_path(parent, "module_").size() + base.size();
  const std::uint32_t number = path.size() == stem ? 0 : static_cast<std::uint32_t>(std::stoul(path.substr(stem + 1)));
  if (from == end && begin < end) {
    end = number + 1;
  } else {
    begin = from;
    end = number + 1;
  }
  return path;
}

void convert_call(Graph& graph, NodeId id, Lowering lowering, bool storage_is_read, ModuleNames& names,
                  const PassContext& context, std::string_view pass) {
  const Op& op = *lowering.op;
  const std::string scope = graph.scope(graph[id].scope).path;
  const std::string path = names.path(graph.modules, id, scope, op.base);
  if (context.conversions) {
    const Node& node = graph[id];
    context.conversions->push_back({.pass = std::string(pass),
                                    .from = (node.op == Opcode::call_method ? "torch.Tensor." : "") + node.target,
                                    .to = lowering.type,
                                    .path = path,
                                    .scope = scope,
                                    .where = graph.where(node)});
  }
  ModuleSpec spec;
  spec.path = path;
  spec.kind = ModuleKind::constructed;
  spec.type = std::move(lowering.type);
  spec.args = std::move(lowering.ctor_args);
  spec.kwargs = std::move(lowering.ctor_kwargs);
  spec.base = op.base;
  spec.adopts = std::move(lowering.adopts);
  graph.modules.add(std::move(spec));

  Node call;
  call.op = Opcode::call_module;
  call.target = path;
  call.args = std::move(lowering.args);
  call.kwargs = std::move(lowering.kwargs);
  Node& node = graph[id];
  if (lowering.writes && storage_is_read) {
    // The node goes on meaning the storage; what is written there is computed just before it.
    call.type = node.type;
    call.scope = node.scope;
    call.source = node.source;
    call.name = op.base;
    const NodeId result = graph.insert_before(id, std::move(call));
    Node& write = graph[id];
    write.op = Opcode::call_method;
    write.target = "copy_";
    write.args = {std::move(lowering.written), Value::node(result)};
    write.kwargs.clear();
    return;
  }
  node.op = call.op;
  node.target = std::move(call.target);
  node.args = std::move(call.args);
  node.kwargs = std::move(call.kwargs);
}

}  // namespace modulize
