// With the option plain_sizes, reads of sizes go through a function that gives plain numbers in a trace as well.
//
//   %s = call_function builtins.getattr(%x, "shape")
//   %n = call_method size(%x, 0)
// ==>
//   %s = call_function modulize._runtime.plain_sizes(%x)
//   %n = call_function modulize._runtime.plain_sizes(%x, 0)
//
// torch.jit.trace would record the arithmetic on them, which tools that read the trace take for computations.
#include "ir/runtime_calls.h"
#include "passes/pass.h"

namespace modulize {

PassResult sizes_to_plain_numbers(Graph& graph, const PassContext& context) {
  if (!context.options.plain_sizes) return {};
  bool modified = false;
  for (const NodeId id : graph.order()) {
    Node& node = graph[id];
    const bool is_shape = node.op == Opcode::call_function && node.target == "builtins.getattr" &&
                          node.args.size() == 2 && node.args[1] == Value::string("shape");
    const bool is_size = node.op == Opcode::call_method && node.target == "size";
    if (!is_shape && !is_size) continue;
    node.op = Opcode::call_function;
    node.target = kPlainSizes;
    if (is_shape) node.args.pop_back();
    modified = true;
  }
  return {.modified = modified};
}

}  // namespace modulize
