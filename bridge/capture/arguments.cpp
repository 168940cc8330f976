#include "bridge/capture/arguments.h"

#include "bridge/support/errors.h"

namespace modulize {

namespace {

bool is_plain_value(PyObject* o) {
  return o == Py_None || PyBool_Check(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) || PyUnicode_CheckExact(o);
}

}  // namespace

nb::object ArgumentBuilder::build(nb::handle value, NodeId node, const std::string& text) {
  const TorchTypes& torch = TorchTypes::instance();
  if (is_free(value)) return nb::steal(recorder_.make_proxy(node));
  if (torch.is_tensor(value.ptr())) {
    if (recorder_.mode() == CaptureMode::symbolic) return nb::borrow(value);
    Recorder::Pause quiet(recorder_);
    nb::object copy = value.attr("detach")().attr("clone")();
    if (nb::cast<bool>(value.attr("requires_grad"))) copy.attr("requires_grad_")();
    nb::object tagged = nb::steal(recorder_.wrap_result(copy.ptr(), node, true));
    return tagged;
  }
  PyObject* o = value.ptr();
  if (PyTuple_Check(o) || PyList_Check(o)) {
    nb::list items;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(o);
    for (Py_ssize_t i = 0; i < count; ++i) {
      nb::object item = nb::borrow(PySequence_Fast_GET_ITEM(o, i));
      items.append(build(item, element(node, Value::integer(i), item), text + "[" + std::to_string(i) + "]"));
    }
    recorder_.add_check(recorder_.add_function("builtins.len", {Value::node(node)}, ValueType::number),
                        Value::integer(count), "the length of " + text);
    nb::object type = nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(o)));
    if (PyList_CheckExact(o)) return nb::object(items);
    if (PyTuple_Check(o) && nb::hasattr(type, "_make")) return type.attr("_make")(items);
    return type(items);
  }
  if (PyDict_Check(o)) {
    nb::object out = nb::steal(PyObject_CallNoArgs(reinterpret_cast<PyObject*>(Py_TYPE(o))));
    if (!out.is_valid()) nb::raise_python_error();
    for (auto [key, item] : nb::borrow<nb::dict>(value)) {
      const std::string shown = nb::cast<std::string>(nb::repr(key));
      out[key] = build(item, element(node, recorder_.to_value(key.ptr()), item), text + "[" + shown + "]");
    }
    nb::object keys = nb::steal(PyDict_Keys(o));
    recorder_.add_check(recorder_.add_function("builtins.list", {Value::node(node)}, ValueType::other),
                        recorder_.to_value(keys.ptr()), "the keys of " + text);
    return out;
  }
  if (!is_plain_value(o) && _PyObject_GetDictPtr(o) && !PyType_Check(o) && !PyFunction_Check(o))
    throw Error(ErrorCode::CaptureError, text + " is a " + nb::cast<std::string>(nb::type_name(value.type())) +
                                             ": inputs may be tensors, numbers, texts, None and lists, tuples and "
                                             "dicts of them");
  recorder_.add_check(node, recorder_.to_value(o), text);
  return nb::borrow(value);
}

bool ArgumentBuilder::is_free(nb::handle value) const {
  return placeholder_class_.is_valid() && !placeholder_class_.is_none() &&
         PyObject_IsInstance(value.ptr(), placeholder_class_.ptr()) == 1;
}

NodeId ArgumentBuilder::element(NodeId node, Value key, nb::handle item) {
  const ValueType type = TorchTypes::instance().is_tensor(item.ptr()) ? ValueType::tensor : ValueType::unknown;
  return recorder_.add_function("operator.getitem", {Value::node(node), std::move(key)}, type);
}

}  // namespace modulize
