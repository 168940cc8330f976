// Parameters and plain tensor attributes that forward writes in place: copied before, put back after.
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

/// What `object.method()` returns as a number; 0 if it raises.
std::uintptr_t number_from(PyObject* object, PyObject* method) {
  nb::object number = nb::steal(PyObject_CallMethodNoArgs(object, method));
  if (!number.is_valid()) {
    PyErr_Clear();  // a tensor without storage, or an older torch
    return 0;
  }
  return nb::cast<std::uintptr_t>(number);
}

}  // namespace

void Recorder::save_before_writes(const CallName& name, PyObject* args, PyObject* kwargs) {
  if (name.in_place && PyTuple_GET_SIZE(args) > 0) save_before_write(PyTuple_GET_ITEM(args, 0));
  if (PyObject* out = kwargs ? PyDict_GetItemString(kwargs, "out") : nullptr) save_before_write(out);
}

// A copy of all Parameters would double a model's memory: only those that a recorded call writes are copied, before it
// does.
void Recorder::save_before_write(PyObject* tensor) {
  if (!TorchTypes::instance().is_tensor(tensor)) return;
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  static PyObject* const untyped_storage = PyUnicode_InternFromString("untyped_storage");
  static PyObject* const nbytes = PyUnicode_InternFromString("nbytes");
  if (!std::exchange(unsaved_known_, true))
    for (const auto& [held, path] : scan_.tensors)
      if (const std::uintptr_t address = number_from(held, data_ptr)) unsaved_.emplace(address, held);
  nb::object storage = nb::steal(PyObject_CallMethodNoArgs(tensor, untyped_storage));
  if (!storage.is_valid()) {
    PyErr_Clear();
    return;
  }
  const std::uintptr_t begin = number_from(storage.ptr(), data_ptr);
  if (begin == 0) return;
  const auto first = unsaved_.lower_bound(begin);
  const auto last = unsaved_.lower_bound(begin + number_from(storage.ptr(), nbytes));
  for (auto it = first; it != last; ++it) {
    nb::handle held(it->second);
    overwritten_.emplace_back(nb::borrow(held), nb::object(held.attr("detach")().attr("clone")()));
    capture_.overwritten.push_back(nb::borrow(held));
  }
  unsaved_.erase(first, last);
}

std::vector<std::string> Recorder::restore_overwritten() {
  std::vector<std::string> names;
  for (auto& [tensor, copy] : overwritten_) {
    names.push_back(scan_.tensors.at(tensor.ptr()));
    tensor.attr("detach")().attr("copy_")(copy);
  }
  overwritten_.clear();
  return names;
}

}  // namespace modulize
