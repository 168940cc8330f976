#include "bridge/world/buffers.h"

#include <cstring>

#include "bridge/python/errors.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

PyObject* interned(const char* text) { return PyUnicode_InternFromString(text); }

}  // namespace

Buffers::Buffers(const ModuleScan& scan) {
  const TorchTypes& torch = TorchTypes::instance();
  static PyObject* const buffers_name = interned("_buffers");
  for (const ModuleScan::Entry& entry : scan.modules) {
    PyObject* const dict = attribute_dict(entry.module);
    PyObject* const buffers = dict ? PyDict_GetItem(dict, buffers_name) : nullptr;
    if (!buffers || !PyDict_Check(buffers)) continue;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(buffers, &at, &key, &value);) {
      if (!torch.is_tensor(value)) continue;
      Saved saved{nb::borrow(value), &entry.path, nb::borrow(key), {}, nullptr, 0};
      if (!save_bytes(saved)) saved.copy = saved.live.attr("detach")().attr("clone")();
      buffers_.push_back(std::move(saved));
    }
  }
}

namespace {

nb::object ask(PyObject* tensor, PyObject* property) {
  PyObject* out = PyObject_GetAttr(tensor, property);
  if (!out) nb::raise_python_error();
  return nb::steal(out);
}

/// The bytes of a plain tensor in main memory; null for any other.
const char* bytes_of(PyObject* tensor, std::size_t* size) {
  const TorchTypes& torch = TorchTypes::instance();
  if (Py_TYPE(tensor) != torch.tensor && Py_TYPE(tensor) != torch.parameter) return nullptr;
  static PyObject* const strided = nb::object(nb::module_::import_("torch").attr("strided")).release().ptr();
  static PyObject* const contiguous = interned("is_contiguous");
  static PyObject* const data_ptr = interned("data_ptr");
  static PyObject* const is_cpu = interned("is_cpu");
  static const bool tells = PyObject_HasAttr(reinterpret_cast<PyObject*>(torch.tensor), is_cpu);  // torch 1.12
  if (!tells) return nullptr;
  static PyObject* const layout = interned("layout");
  static PyObject* const is_quantized = interned("is_quantized");
  static PyObject* const count = interned("numel");
  static PyObject* const element = interned("element_size");
  if (ask(tensor, is_cpu).ptr() != Py_True || ask(tensor, layout).ptr() != strided ||
      ask(tensor, is_quantized).ptr() != Py_False)
    return nullptr;
  nb::object is_contiguous = nb::steal(PyObject_CallMethodNoArgs(tensor, contiguous));
  if (!is_contiguous.is_valid()) nb::raise_python_error();
  if (!is_contiguous.is(nb::handle(Py_True))) return nullptr;
  // Tensor.nbytes is of torch 2.0.
  *size = nb::cast<std::size_t>(ask(tensor, count)()) * nb::cast<std::size_t>(ask(tensor, element)());
  nb::object address = nb::steal(PyObject_CallMethodNoArgs(tensor, data_ptr));
  if (!address.is_valid()) {
    PyErr_Clear();  // a tensor without storage of its own
    return nullptr;
  }
  return reinterpret_cast<const char*>(nb::cast<std::uintptr_t>(address));
}

}  // namespace

// A copy by torch and a comparison by torch take ten times as long for the few numbers of a batch norm.
bool Buffers::save_bytes(Saved& buffer) {
  const char* const data = bytes_of(buffer.live.ptr(), &buffer.size);
  if (!data || buffer.size == 0) return false;
  buffer.bytes = std::make_unique_for_overwrite<char[]>(buffer.size);
  std::memcpy(buffer.bytes.get(), data, buffer.size);
  return true;
}

// Values, not versions: batch norm writes its statistics without counting them as a change.
bool Buffers::is_changed(const Saved& buffer) {
  if (!buffer.copy.is_valid()) {
    std::size_t size = 0;
    const char* const data = bytes_of(buffer.live.ptr(), &size);
    return !data || size != buffer.size || std::memcmp(data, buffer.bytes.get(), size) != 0;
  }
  static PyObject* const equal = nb::object(nb::module_::import_("torch").attr("equal")).release().ptr();
  return !nb::cast<bool>(buffer.live.attr("is_meta")) && !nb::cast<bool>(nb::handle(equal)(buffer.live, buffer.copy));
}

nb::object Buffers::copy_of(const Saved& buffer) {
  if (buffer.copy.is_valid()) return buffer.copy;
  nb::object bytes = nb::steal(PyByteArray_FromStringAndSize(buffer.bytes.get(), static_cast<Py_ssize_t>(buffer.size)));
  if (!bytes.is_valid()) nb::raise_python_error();
  return nb::module_::import_("torch")
      .attr("frombuffer")(bytes, nb::arg("dtype") = buffer.live.attr("dtype"))
      .attr("view")(buffer.live.attr("shape"));
}

void Buffers::restore(std::vector<std::string>& changed) {
  for (const Saved& saved : buffers_) {
    if (!is_changed(saved)) continue;
    changed.push_back(full_name(*saved.module, text_of(saved.name)));
    saved.live.attr("detach")().attr("copy_")(copy_of(saved));
  }
}

}  // namespace modulize
