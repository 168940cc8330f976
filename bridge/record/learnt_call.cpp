#include "bridge/record/learnt_call.h"

#include "bridge/python/errors.h"
#include "bridge/values/torch_types.h"

namespace modulize {

LearntShape learnt_shape_of(PyObject* tensor) {
  const nb::handle t(tensor);
  LearntShape out{t.attr("shape"), t.attr("stride")(), t.attr("dtype"), t.attr("device")};
  out.args = nb::make_tuple(out.size, out.stride);
  out.kwargs["dtype"] = out.dtype;
  out.kwargs["device"] = out.device;
  return out;
}

nb::object with_tensors(PyObject* object, const std::unordered_map<PyObject*, nb::object>& others) {
  if (!object) return {};
  if (const auto it = others.find(object); it != others.end()) return it->second;
  if (PyTuple_CheckExact(object) || PyList_CheckExact(object) || Py_TYPE(object) == TorchTypes::instance().size) {
    nb::object out = nb::steal(PyList_New(0));
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i)
      PyList_Append(out.ptr(), with_tensors(PySequence_Fast_GET_ITEM(object, i), others).ptr());
    return PyList_CheckExact(object) ? out : checked(PyList_AsTuple(out.ptr()));
  }
  if (PyDict_CheckExact(object)) {
    nb::dict out;
    for (auto [key, value] : nb::borrow<nb::dict>(object)) out[key] = with_tensors(value.ptr(), others);
    return out;
  }
  return nb::borrow(object);
}

}  // namespace modulize
