// Nodes without effect that nobody uses go.
//
//   %s = call_method size(%x)
//   %a = call_function torch.relu(%x)
//   output %x
// ==>
//   output %x
//
// Kept: placeholders, module calls (they may hold state), in-place writes, random draws (the next one would change),
// updates of running statistics, and calls that the table does not know.
#include "ops/op_match.h"
#include "passes/pass.h"

namespace modulize {

namespace {

bool is_pure_call(const Node& node) {
  if (node.find_kwarg("out")) return false;
  if (const OpSpelling* spelling = find_op(node)) {
    const Op& op = *spelling->op;
    if (spelling->writes_first || op.row->random || op.row->effect) return false;
    const auto bound = bind_arguments(*spelling, node);
    return bound && (!op.inplace || bound->values[*op.inplace] == Value::boolean(false));
  }
  const PassiveRow* row = find_passive(node);
  return row && has_no_effect(row->reason);
}

bool is_pure(const Node& node) {
  switch (node.op) {
    case Opcode::get_attr:
      return true;
    case Opcode::call_function:
    case Opcode::call_method:
      return is_pure_call(node);
    default:
      return false;
  }
}

}  // namespace

PassResult dead_code(Graph& graph, const PassContext&) {
  std::vector<std::uint32_t> uses = graph.use_counts();
  bool modified = false;
  for (NodeId id = graph.last(); id != kNoNode;) {
    const NodeId previous = graph[id].prev;
    if (uses[id] == 0 && is_pure(graph[id])) {
      graph[id].for_each_input([&](NodeId in) { --uses[in]; });
      graph.erase(id);
      modified = true;
    }
    id = previous;
  }
  return {.modified = modified};
}

}  // namespace modulize
