#include "bridge/world/tensors.h"

#include "bridge/python/errors.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

PyObject* interned(const char* text) { return PyUnicode_InternFromString(text); }

/// What `object.method()` returns as a number; 0 if it raises.
std::uintptr_t number_from(PyObject* object, PyObject* method) {
  nb::object number = nb::steal(PyObject_CallMethodNoArgs(object, method));
  if (!number.is_valid()) {
    PyErr_Clear();  // a tensor without storage, or an older torch
    return 0;
  }
  return nb::cast<std::uintptr_t>(number);
}

std::uintptr_t address_of(PyObject* tensor) {
  static PyObject* const data_ptr = interned("data_ptr");
  return number_from(tensor, data_ptr);
}

PyObject* requires_grad_name() {
  static PyObject* const name = interned("requires_grad");
  return name;
}

PyObject* grad_name() {
  static PyObject* const name = interned("grad");
  return name;
}

nb::object copy_of(nb::handle tensor) { return tensor.attr("detach")().attr("clone")(); }

}  // namespace

Tensors::Tensors(const ModuleScan& scan, bool with_values) : scan_(scan) {
  const TorchTypes& torch = TorchTypes::instance();
  entries_.reserve(scan.tensors.size());
  for (const auto& [tensor, path] : scan.tensors) {
    nb::object flag = nb::steal(PyObject_GetAttr(tensor, requires_grad_name()));
    if (!flag.is_valid()) {
      PyErr_Clear();  // a tensor that keeps none, of a class of its own
      continue;
    }
    Entry entry{tensor, &path, flag.is(nb::handle(Py_True)), {}, {}};
    if (Py_TYPE(tensor) == torch.parameter || PyType_IsSubtype(Py_TYPE(tensor), torch.parameter)) {
      entry.grad = nb::steal(PyObject_GetAttr(tensor, grad_name()));
      if (!entry.grad.is_valid()) PyErr_Clear();
    }
    if (with_values && (Py_TYPE(tensor) == torch.parameter || Py_TYPE(tensor) == torch.tensor)) {
      entry.memory = nb::steal(PyObject_CallOneArg(torch.detach, tensor));
      if (!entry.memory.is_valid()) PyErr_Clear();
    }
    entries_.push_back(std::move(entry));
  }
}

void Tensors::before_write(PyObject* tensor) {
  if (!TorchTypes::instance().is_tensor(tensor)) return;
  static PyObject* const untyped_storage = interned("untyped_storage");
  static PyObject* const data_ptr = interned("data_ptr");
  static PyObject* const nbytes = interned("nbytes");
  if (!std::exchange(unsaved_known_, true))
    for (const auto& [held, path] : scan_.tensors)
      if (const std::uintptr_t address = address_of(held)) unsaved_.emplace(address, held);
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
    copied_.push_back({nb::borrow(it->second), copy_of(it->second), &scan_.tensors.at(it->second)});
    written_.push_back(nb::borrow(it->second));
  }
  unsaved_.erase(first, last);
}

void Tensors::before_write_elsewhere(PyObject* tensor) {
  if (!TorchTypes::instance().is_tensor(tensor) || scan_.tensors.contains(tensor)) return;
  if (elsewhere_.insert(tensor).second) copied_.push_back({nb::borrow(tensor), copy_of(tensor), nullptr});
}

void Tensors::before_backward() {
  if (std::exchange(gradients_saved_, true)) return;
  for (const Entry& entry : entries_)
    if (entry.grad.is_valid() && !entry.grad.is_none()) copied_.push_back({entry.grad, copy_of(entry.grad), nullptr});
}

void Tensors::restore(std::vector<std::string>& changed) {
  for (const Entry& entry : entries_) {
    if (!entry.memory.is_valid() || address_of(entry.tensor) == address_of(entry.memory.ptr())) continue;
    nb::handle(entry.tensor).attr("data") = entry.memory;
    changed.push_back(*entry.path);
  }
  for (const Copied& one : copied_) {
    one.tensor.attr("detach")().attr("copy_")(one.copy);
    if (one.path) changed.push_back(*one.path);
  }
  copied_.clear();
  elsewhere_.clear();
  for (const Entry& entry : entries_) {
    const nb::object flag = checked(PyObject_GetAttr(entry.tensor, requires_grad_name()));
    if (flag.is(nb::handle(Py_True)) != entry.requires_grad) {
      nb::handle(entry.tensor).attr("requires_grad_")(entry.requires_grad);
      changed.push_back(*entry.path + ".requires_grad");
    }
    if (!entry.grad.is_valid()) continue;
    const nb::object grad = checked(PyObject_GetAttr(entry.tensor, grad_name()));
    if (grad.is(entry.grad)) continue;
    nb::handle(entry.tensor).attr("grad") = entry.grad;
    changed.push_back(*entry.path + ".grad");
  }
}

}  // namespace modulize
