#include "bridge/record/blocks.h"

#include "bridge/python/errors.h"
#include "ir/blocks.h"

namespace modulize {

namespace {

constexpr int kDepth = 8;

bool is_atom(PyObject* object) {
  return object == Py_None || PyBool_Check(object) || PyLong_Check(object) || PyFloat_Check(object) ||
         PyUnicode_Check(object) || TorchTypes::instance().is_tensor(object);
}

Value block_value(Recorder& recorder, PyObject* object, bool is_result, int depth = 0) {
  if (is_atom(object) || has_origin(recorder, object)) return recorder.to_value(object);
  if (recorder.objects().knows(object)) {
    const KnownObjects::KeepIdentity identity(recorder.objects());
    return recorder.to_value(object);
  }
  if (depth > kDepth) return Value::ellipsis();
  if (PyTuple_CheckExact(object) || PyList_CheckExact(object)) {
    ValueList items;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i)
      items.push_back(block_value(recorder, PySequence_Fast_GET_ITEM(object, i), is_result, depth + 1));
    return PyTuple_CheckExact(object) ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }
  if (PyDict_CheckExact(object)) {
    ValueDict items;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);) {
      if (!PyUnicode_Check(key) && !PyLong_Check(key)) return Value::ellipsis();
      items.emplace_back(recorder.to_value(key), block_value(recorder, value, is_result, depth + 1));
    }
    return Value::dict(std::move(items));
  }
  if (Py_TYPE(object) == TorchTypes::instance().size || Py_TYPE(object) == TorchTypes::instance().dtype ||
      (is_result && recorder.objects().needs_rebuilding(object)))
    return recorder.to_value(object);
  return Value::ellipsis();
}

}  // namespace

NodeId begin_block(Recorder& recorder, const std::string& path, PyObject* module, PyObject* const* args,
                   Py_ssize_t nargs, PyObject* kwnames) {
  nb::object parameters, arguments, empty;
  {
    const Pause quiet(recorder);
    const nb::module_ inspect = nb::module_::import_("inspect");
    empty = inspect.attr("Parameter").attr("empty");
    const nb::object forward = inspect.attr("signature")(nb::handle(module).attr("forward"));
    parameters = forward.attr("parameters").attr("values")();
    const nb::object bind = forward.attr("bind");
    const nb::object bound = nb::steal(PyObject_Vectorcall(bind.ptr(), args, static_cast<std::size_t>(nargs), kwnames));
    if (!bound.is_valid()) {
      if (!PyErr_ExceptionMatches(PyExc_TypeError)) nb::raise_python_error();
      PyErr_Clear();  // forward raises it itself
      return kNoNode;
    }
    arguments = bound.attr("arguments");
  }
  ValueList signature, values;
  for (nb::handle parameter : parameters) {
    const nb::object name = parameter.attr("name"), fallback = parameter.attr("default");
    const auto kind = static_cast<ParameterKind>(nb::cast<int>(nb::int_(nb::object(parameter.attr("kind")))));
    const std::string stars = kind == ParameterKind::var_positional ? "*"
                              : kind == ParameterKind::var_keyword  ? "**"
                                                                    : "";
    ValueList entry = {Value::string(stars + nb::cast<std::string>(name)),
                       Value::string(std::string(parameter_kind_name(kind)))};
    if (!fallback.is(empty) && stars.empty())
      entry.push_back(is_atom(fallback.ptr()) && !TorchTypes::instance().is_tensor(fallback.ptr())
                          ? recorder.to_value(fallback.ptr())
                          : Value::none());
    signature.push_back(Value::tuple(std::move(entry)));
    nb::object given = nb::steal(PyObject_CallMethod(arguments.ptr(), "get", "OO", name.ptr(), empty.ptr()));
    if (!given.is_valid()) nb::raise_python_error();
    if (!given.is(empty))
      values.push_back(block_value(recorder, given.ptr(), false));
    else if (!stars.empty())
      values.push_back(stars.size() == 1 ? Value::tuple({}) : Value::dict({}));
    else
      values.push_back(block_value(recorder, fallback.ptr(), false));
  }
  ValueList all = {Value::string(path), Value::tuple(std::move(signature))};
  all.insert(all.end(), values.begin(), values.end());
  return recorder.add_function(std::string(kBeginBlock), std::move(all), ValueType::other);
}

void end_block(Recorder& recorder, NodeId begin, PyObject* result) {
  ValueList args = {Value::node(begin), block_value(recorder, result, true)};
  if (args[1].is_node() && recorder.objects().knows(result)) {
    ValueList parts;
    for (const Part& part : parts_of(result)) {
      const Value value = block_value(recorder, part.value.ptr(), true);
      if (!value.has_node() || !PyUnicode_Check(part.key.ptr())) continue;
      parts.push_back(Value::tuple(
          {Value::string(part.is_attribute ? "attribute" : "item"), recorder.to_value(part.key.ptr()), value}));
    }
    if (!parts.empty()) args.push_back(Value::tuple(std::move(parts)));
  }
  recorder.add_function(std::string(kEndBlock), std::move(args), ValueType::other);
}

}  // namespace modulize
