// With the option layout_modules, calls that move values or see them otherwise become modules too.
//
//   %a = call_method permute(%x, 0, 2, 1)
//   %b = call_function operator.getitem(%a, 0)
// ==>
//   module module_permute = modulize.nn.Permute() for permute
//   module module_getitem = modulize.nn.GetItem() for getitem
//   %a = call_module module_permute(%x, 0, 2, 1)
//   %b = call_module module_getitem(%a, 0)
//
// Items of tuples, lists and sizes are no tensors' business: those calls stay.
#include "passes/rewrite.h"

namespace modulize {

PassResult layout_to_module(Graph& graph, const PassContext& context) {
  if (!context.options.layout_modules) return {};
  return convert_calls(graph, context, "layout_to_module", [](const Op& op) { return op.row->layout; });
}

}  // namespace modulize
