// Calls that a module of torch.nn computes become calls of such a module.
//
//   %a = call_function torch.nn.functional.leaky_relu(%x, 0.2)
// ==>
//   module module_leaky_relu = torch.nn.LeakyReLU(negative_slope=0.2) for leaky_relu
//   %a = call_module module_leaky_relu(%x)
//
//   %c = call_function torch.nn.functional.linear(%x, %w, None)        (%w = get_attr w: float32[20, 10])
// ==>
//   module module_linear = torch.nn.Linear(10, 20, bias=False) for linear adopt weight=w
//   %c = call_module module_linear(%x)
//
// Arguments that the constructor cannot take (values of the graph, a mode flag that is not the scope's) go to a
// run-time class of modulize.nn, which is called with all of them.
#include "passes/rewrite.h"

namespace modulize {

PassResult functional_to_module(Graph& graph, const PassContext& context) {
  return convert_calls(graph, context, "functional_to_module",
                       [](const Op& op) { return op.is_layer && !op.row->layout; });
}

}  // namespace modulize
