#include "bridge/boundary/whole.h"

#include "bridge/python/errors.h"
#include "ir/runtime_calls.h"

namespace modulize {

namespace {

// --- functions as arguments -----------------------------------------------------------------------------------

// Closures in closures are looked into this deep.
constexpr int kClosureDepth = 4;

Value function_value(Recorder& recorder, PyObject* function, int depth = 0);

bool holds_recorded(Recorder& recorder, PyObject* object) {
  return TorchTypes::instance().is_tensor(object) || has_origin(recorder, object);
}

// The value of a function; one that holds recorded values in its closure is made anew around them.
Value function_value(Recorder& recorder, PyObject* function, int depth) {
  Value as_it_is = recorder.to_value(function);
  if (!PyFunction_Check(function) || as_it_is.is(ValueKind::name) || depth > kClosureDepth) return as_it_is;
  PyObject* cells = PyFunction_GetClosure(function);
  ValueDict held;
  for (Py_ssize_t i = 0; cells && i < PyTuple_GET_SIZE(cells); ++i) {
    nb::object content = nb::steal(PyCell_Get(PyTuple_GET_ITEM(cells, i)));
    if (!content.is_valid() || content.is(nb::handle(function))) continue;  // an empty one, or the function itself
    if (holds_recorded(recorder, content.ptr())) {
      held.emplace_back(Value::integer(i), recorder.to_value(content.ptr()));
    } else if (PyFunction_Check(content.ptr())) {
      Value inner = function_value(recorder, content.ptr(), depth + 1);
      if (inner.has_node()) held.emplace_back(Value::integer(i), std::move(inner));
    }
  }
  PyObject* defaults = PyFunction_GetDefaults(function);
  if (defaults && has_origin(recorder, defaults))
    throw Error(ErrorCode::CaptureError,
                "a function under a transform of torch.func has a recorded tensor as a default" +
                    recorder.places().in_words() + ": give it as an argument, or exclude the module");
  if (held.empty()) return as_it_is;
  // Without what it holds here, so that two captures have the same function.
  nb::object empty_cells = checked(PySequence_List(cells));
  for (const auto& [position, value] : held)
    PyList_SetItem(empty_cells.ptr(), position.as_integer(), PyCell_New(Py_None));
  nb::object types = nb::module_::import_("types");
  nb::handle f(function);
  nb::object empty = types.attr("FunctionType")(f.attr("__code__"), f.attr("__globals__"), f.attr("__name__"),
                                                f.attr("__defaults__"), nb::tuple(empty_cells));
  empty.attr("__kwdefaults__") = nb::object(f.attr("__kwdefaults__"));
  return Value::node(recorder.add_function(std::string(kClosure),
                                           {recorder.capture().objects.value(empty), Value::dict(std::move(held))},
                                           ValueType::other));
}

Value argument_value(Recorder& recorder, PyObject* object) {
  if (PyFunction_Check(object)) return function_value(recorder, object);
  if (std::string_view(Py_TYPE(object)->tp_name) == "functools.partial") {
    nb::handle partial(object);
    Node node;
    node.target = "functools.partial";
    node.type = ValueType::other;
    node.args.push_back(function_value(recorder, nb::object(partial.attr("func")).ptr()));
    nb::object args = partial.attr("args"), keywords = partial.attr("keywords");
    for (nb::handle item : args) node.args.push_back(recorder.to_value(item.ptr()));
    for (auto [key, value] : nb::borrow<nb::dict>(keywords))
      node.kwargs.emplace_back(nb::cast<std::string>(key), recorder.to_value(value.ptr()));
    bool recorded = false;
    for (const Value& v : node.args) recorded |= v.has_node();
    for (const auto& [key, v] : node.kwargs) recorded |= v.has_node();
    if (recorded) return Value::node(recorder.add_node(std::move(node)));
  }
  return recorder.to_value(object);
}

}  // namespace

void add_arguments(Recorder& recorder, PyObject* args, Py_ssize_t begin, PyObject* kwargs, Node& node) {
  for (Py_ssize_t i = begin; i < PyTuple_GET_SIZE(args); ++i)
    node.args.push_back(argument_value(recorder, PyTuple_GET_ITEM(args, i)));
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      node.kwargs.emplace_back(nb::cast<std::string>(nb::handle(key)), argument_value(recorder, value));
}

PyObject* record_whole(Recorder& recorder, CallKind kind, const std::string& callee, PyObject* args, PyObject* kwargs,
                       const std::function<void(Node&)>& describe, const std::function<PyObject*()>& run,
                       const std::function<bool()>& in_place) {
  OutsideCall call{kind, args, kwargs, callee};
  call.add = [&] {
    Node node;
    node.op = Opcode::call_function;
    describe(node);
    recorder.decisions().require_known(node);
    return recorder.add_node(std::move(node));
  };
  call.run = run;
  call.in_place = in_place;
  return call_outside(recorder, call);
}

}  // namespace modulize
