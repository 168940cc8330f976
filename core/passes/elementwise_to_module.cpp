// Operators and functions that torch.nn has no module for become calls of a module of modulize.nn, which holds no
// settings: everything is given in the call.
//
//   %a = call_method __rsub__(%x, 1)
// ==>
//   module module_sub = modulize.nn.Subtract() for sub
//   %a = call_module module_sub(1, %x)
//
// An in-place form whose storage is read elsewhere keeps its write:
//   %z = call_method add_(%y, 1)
//   output (%z, %y)
// ==>
//   %add = call_module module_add(%y, 1)
//   %z = call_method copy_(%y, %add)
//   output (%z, %y)
//
// Arithmetic on Python numbers and sizes stays as it is.
#include "passes/rewrite.h"

namespace modulize {

PassResult elementwise_to_module(Graph& graph, const PassContext& context) {
  return convert_calls(graph, context, "elementwise_to_module",
                       [](const Op& op) { return !op.is_layer && !op.row->layout; });
}

}  // namespace modulize
