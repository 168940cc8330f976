// Graph -> torch.fx.Graph, node by node. Only done when somebody reads `.graph`.
#include <nanobind/stl/string.h>

#include "bridge/materialise/module_types.h"
#include "bridge/materialise/program.h"
#include "bridge/materialise/python_value.h"
#include "bridge/python/names.h"
#include "ir/runtime_calls.h"
#include "support/error.h"

namespace modulize {

namespace {

// torch.fx finds no name for the builtin `apply` of a torch.autograd.Function.
nb::object with_name(nb::object function) {
  if (!PyCFunction_Check(function.ptr())) return function;
  PyObject* self = PyCFunction_GET_SELF(function.ptr());
  if (!self || !PyType_Check(self) || !PyObject_HasAttrString(self, "_backward_cls")) return function;
  return resolve_name(std::string(kApply))(nb::handle(self));
}

nb::object fx_target(const Node& node, const ValueContext& context) {
  if (node.op == Opcode::output) return make_text("output");
  if (node.op != Opcode::call_function) return make_text(node.target);
  if (!node.target.empty()) return with_name(resolve_name(node.target));
  if (node.callee.is_node())
    throw Error(ErrorCode::ModulizeError, "%" + node.name + " calls another node's value, which torch.fx cannot hold");
  return with_name(to_python(node.callee, context));
}

// Has it no spelling in the source that torch.fx writes?
bool is_unspeakable(const Value& value, const nb::object& object) {
  if (value.is(ValueKind::object)) return true;
  return value.is(ValueKind::name) &&
         (PyType_Check(object.ptr()) || PyFunction_Check(object.ptr()) || PyCFunction_Check(object.ptr()));
}

// Moves such arguments out of a call into its target.
void bind_unspeakable(const Node& node, nb::object& target, nb::object& args, nb::object& kwargs) {
  if (node.op != Opcode::call_function) return;
  nb::dict constants;
  nb::list spoken;
  for (std::size_t i = 0; i < node.args.size(); ++i) {
    nb::object arg = args[i];
    if (is_unspeakable(node.args[i], arg))
      constants[nb::int_(i)] = arg;
    else
      spoken.append(arg);
  }
  nb::dict named;
  for (const auto& [key, value] : node.kwargs) {
    nb::object arg = kwargs[key.c_str()];
    (is_unspeakable(value, arg) ? constants : named)[key.c_str()] = arg;
  }
  if (nb::len(constants) == 0) return;
  target = resolve_name(std::string(kBound))(target, constants);
  args = nb::tuple(spoken);
  kwargs = named;
}

// In the form that torch.fx prints from: where the user wrote the call.
nb::object stack_trace(const Source& source) {
  const nb::object line = nb::module_::import_("linecache").attr("getline")(source.file, source.line);
  std::string text = "  File \"" + source.file + "\", line " + std::to_string(source.line) + ", in forward\n    ";
  const std::string code = nb::cast<std::string>(line.attr("strip")());
  text += code.empty() ? "..." : code;  // without a line of code torch.fx overlooks the place
  return make_text(text);
}

}  // namespace

nb::object Program::make_fx_graph(nb::handle owner) const {
  nb::object graph = nb::module_::import_("torch.fx").attr("Graph")(owner);
  const nb::object create_node = graph.attr("create_node");
  std::vector<nb::object> nodes(graph_->id_limit());
  const ValueContext context{objects_, [&](NodeId id) { return nodes[id]; }};
  for (const NodeId id : graph_->order()) {
    const Node& node = (*graph_)[id];
    nb::object target = fx_target(node, context), args = to_python_args(node.args, context),
               kwargs = to_python_kwargs(node.kwargs, context);
    bind_unspeakable(node, target, args, kwargs);
    const nb::object fx = create_node(make_text(opcode_name(node.op)), target, args, kwargs, make_text(node.name));
    if (node.source != kNoSource) fx.attr("meta")["stack_trace"] = stack_trace(graph_->source(node.source));
    nodes[id] = fx;
  }
  return graph;
}

}  // namespace modulize
