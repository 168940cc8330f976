// Recorder::wrap_result: makes what a node yields recognisable.
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"

namespace modulize {

namespace {

/// What the node yields, for what numbers are alike in all captures.
void note_numbers(Capture& capture, NodeId node, std::span<PyObject* const> numbers) {
  std::vector<std::int64_t>& noted = capture.numbers[node];
  noted.clear();
  for (PyObject* number : numbers) {
    int overflow = 0;
    noted.push_back(PyLong_Check(number) ? PyLong_AsLongLongAndOverflow(number, &overflow) : 0);
  }
}

}  // namespace

PyObject* Recorder::wrap_result(PyObject* result, NodeId node, bool in_place) {
  const TorchTypes& torch = TorchTypes::instance();
  Node& n = graph()[node];
  if (torch.is_tensor(result)) {
    n.type = ValueType::tensor;
    if (!in_place && (origins_.of_tensor(result) != kNoNode || scan_.tensors.contains(result) ||
                      origins_.is_constant(result) || given_.node_of_tensor(result) != kNoNode)) {
      // The call gave an argument back (`contiguous`, dropout in eval mode). Another object for the same data keeps the
      // two apart: in another mode, or for another layout, they are two tensors.
      nb::object alias = checked(PyObject_CallOneArg(torch.detach, result));
      origins_.tag(alias.ptr(), node);
      return alias.release().ptr();
    }
    origins_.tag(result, node);
    Py_INCREF(result);
    return result;
  }
  if (result == Py_None || PyBool_Check(result)) {
    n.type = result == Py_None ? ValueType::other : ValueType::number;
    Py_INCREF(result);
    return result;
  }
  NumberOrigin other;
  if (traced_origin(result, &other)) {
    // One of the arguments, picked by code that is kept whole: this call says which.
    const nb::object number = checked(plain_number(result));
    return wrap_result(number.ptr(), node, in_place);
  }
  if (PyLong_CheckExact(result)) {
    n.type = ValueType::number;
    if (!origins_.is_unknown(Value::node(node))) note_numbers(capture_, node, std::span<PyObject* const>(&result, 1));
    return make_traced_int(result, {origins_.capture(), node, -1});
  }
  if (PyFloat_CheckExact(result)) {
    n.type = ValueType::number;
    return make_traced_float(PyFloat_AS_DOUBLE(result), {origins_.capture(), node, -1});
  }
  if (PyTuple_Check(result) || PyList_CheckExact(result)) return wrap_sequence(result, node, in_place);
  n.type = ValueType::other;
  if (Py_TYPE(result) == torch.dtype) {
    result = dtypes_.note(result, node);
  } else if (Py_TYPE(result) == torch.device) {
    origins_.note(result, node);
  } else if (has_parts(result)) {
    objects_.adopt_result(result, node);
  } else if (mode_ == CaptureMode::running && !PyUnicode_Check(result) && !PyBytes_Check(result) &&
             !PyType_Check(result) && !PyCallable_Check(result) && !PyObject_TypeCheck(result, torch.module) &&
             Py_TYPE(result) != torch.layout && Py_TYPE(result) != torch.memory_format) {
    origins_.note(result, node);  // an array of numpy's
  }
  Py_INCREF(result);
  return result;
}

PyObject* Recorder::wrap_sequence(PyObject* result, NodeId node, bool in_place) {
  const TorchTypes& torch = TorchTypes::instance();
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(result);
  if (PyList_CheckExact(result) && count > 0)
    if (const NodeId known = whole_sequence(result); known != kNoNode && origins_.sequence(known)->list.is(result)) {
      // Code that is kept whole gave a list back that it had got.
      add_check(*this, add_function("operator.is_", {Value::node(node), Value::node(known)}, ValueType::number),
                Value::boolean(true), "that a call gives the same list back");
      Py_INCREF(result);
      return result;
    }
  origins_.note_sequence(node, {count, Py_TYPE(result), PyList_CheckExact(result) ? nb::borrow(result) : nb::object()});
  bool numbers = count > 0 || Py_TYPE(result) == torch.size;
  const auto is_number = [](PyObject* item) {
    NumberOrigin origin;
    return PyLong_CheckExact(item) || PyFloat_CheckExact(item) || traced_origin(item, &origin);
  };
  for (Py_ssize_t i = 0; i < count && numbers; ++i) numbers = is_number(PySequence_Fast_GET_ITEM(result, i));
  if (numbers) {
    // Sizes and strides: elements are traced ints whose getitem nodes are made at first use.
    graph()[node].type = ValueType::size;
    nb::object items = checked(PyTuple_New(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyObject* item = PySequence_Fast_GET_ITEM(result, i);
      NumberOrigin origin;
      const nb::object plain = traced_origin(item, &origin) ? checked(plain_number(item)) : nb::borrow(item);
      origin = {origins_.capture(), node, static_cast<std::int32_t>(i)};
      nb::object number =
          checked(PyFloat_CheckExact(plain.ptr()) ? make_traced_float(PyFloat_AS_DOUBLE(plain.ptr()), origin)
                                                  : make_traced_int(plain.ptr(), origin));
      PyTuple_SET_ITEM(items.ptr(), i, number.release().ptr());
    }
    const std::span<PyObject* const> all(PySequence_Fast_ITEMS(result), static_cast<std::size_t>(count));
    note_numbers(capture_, node, all);
    if (PyList_CheckExact(result)) return checked(PySequence_List(items.ptr())).release().ptr();
    if (Py_TYPE(result) == &PyTuple_Type) return items.release().ptr();
    return checked(PyObject_CallOneArg(reinterpret_cast<PyObject*>(Py_TYPE(result)), items.ptr())).release().ptr();
  }
  graph()[node].type = ValueType::other;
  nb::object out = nb::borrow(result);
  bool replaced = false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    nb::object item = nb::borrow(PySequence_Fast_GET_ITEM(out.ptr(), i));
    if (!torch.is_tensor(item.ptr()) && !PyTuple_Check(item.ptr()) && !has_parts(item.ptr()) && !is_number(item.ptr()))
      continue;
    const NodeId element_node =
        add_function("operator.getitem", {Value::node(node), Value::integer(i)}, ValueType::unknown);
    nb::object wrapped = checked(wrap_result(item.ptr(), element_node, in_place));
    if (wrapped.is(item)) continue;
    if (!replaced && PyTuple_Check(out.ptr())) {
      // Rebuilt only where an element had to become another object; a named result keeps its class.
      nb::object list = checked(PySequence_List(out.ptr()));
      PyList_SetItem(list.ptr(), i, wrapped.release().ptr());
      out = std::move(list);
      replaced = true;
    } else if (PyList_Check(out.ptr())) {
      PyList_SetItem(out.ptr(), i, wrapped.release().ptr());
    }
  }
  if (!replaced) return out.release().ptr();
  return with_parts(Py_TYPE(result), parts_of(out.ptr()), result).release().ptr();
}

}  // namespace modulize
