#include "bridge/world/module_attributes.h"

#include <cstring>

#include "bridge/python/errors.h"
#include "bridge/values/module_registries.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

PyObject* interned(const char* text) { return PyUnicode_InternFromString(text); }

/// Another number whenever a dict was written to. Before 3.12, where it is public and every write counts.
std::uint64_t version_of(PyObject* dict) {
#if PY_VERSION_HEX < 0x030C0000
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#else
  (void)dict;
  return 0;
#endif
}

}  // namespace

StateSnapshot::StateSnapshot(const ModuleScan& scan, bool with_values) {
  const TorchTypes& torch = TorchTypes::instance();
  static PyObject* const buffers_name = interned("_buffers");
  dicts_.reserve(scan.modules.size() * 4);
  for (const ModuleScan::Entry& entry : scan.modules) {
    PyObject* dict = attribute_dict(entry.module);
    if (!dict) continue;
    const auto save = [&](PyObject* live, PyObject* attribute) {
      dicts_.push_back(
          {nb::borrow(live), nb::steal(PyDict_Copy(live)), &entry.path, nb::borrow(attribute), version_of(live)});
    };
    classes_.emplace_back(entry.module, nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(entry.module))));
    save(dict, nullptr);
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
      if (PyDict_CheckExact(value) || PyODict_CheckExact(value)) {
        if (PyDict_GET_SIZE(value) > 0 || !is_registry(key))
          save(value, is_own_attribute(key) ? nullptr : key);
        else
          empty_.push_back(nb::borrow(value));
      } else if (PyAnySet_CheckExact(value) || (PyList_CheckExact(value) && !is_registry(key))) {
        containers_.push_back({nb::borrow(value), nb::steal(PySequence_List(value)), &entry.path,
                               nb::cast<std::string>(nb::handle(key))});
      }
    if (!with_values) continue;
    PyObject* buffers = PyDict_GetItem(dict, buffers_name);
    if (!buffers || !PyDict_Check(buffers)) continue;
    for (Py_ssize_t at = 0; PyDict_Next(buffers, &at, &key, &value);) {
      if (!torch.is_tensor(value)) continue;
      Buffer saved{nb::borrow(value), &entry.path, key, {}, nullptr, 0};
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
bool StateSnapshot::save_bytes(Buffer& buffer) {
  const char* const data = bytes_of(buffer.live.ptr(), &buffer.size);
  if (!data || buffer.size == 0) return false;
  buffer.bytes = std::make_unique_for_overwrite<char[]>(buffer.size);
  std::memcpy(buffer.bytes.get(), data, buffer.size);
  return true;
}

// Values, not versions: batch norm writes its statistics without counting them as a change.
bool StateSnapshot::is_changed(const Buffer& buffer) {
  if (!buffer.copy.is_valid()) {
    std::size_t size = 0;
    const char* const data = bytes_of(buffer.live.ptr(), &size);
    return !data || size != buffer.size || std::memcmp(data, buffer.bytes.get(), size) != 0;
  }
  static PyObject* const equal = nb::object(nb::module_::import_("torch").attr("equal")).release().ptr();
  return !nb::cast<bool>(buffer.live.attr("is_meta")) && !nb::cast<bool>(nb::handle(equal)(buffer.live, buffer.copy));
}

nb::object StateSnapshot::copy_of(const Buffer& buffer) {
  if (buffer.copy.is_valid()) return buffer.copy;
  nb::object bytes = nb::steal(PyByteArray_FromStringAndSize(buffer.bytes.get(), static_cast<Py_ssize_t>(buffer.size)));
  if (!bytes.is_valid()) nb::raise_python_error();
  return nb::module_::import_("torch")
      .attr("frombuffer")(bytes, nb::arg("dtype") = buffer.live.attr("dtype"))
      .attr("view")(buffer.live.attr("shape"));
}

std::vector<std::string> StateSnapshot::restore() {
  std::vector<std::string> changed;
  for (const auto& [module, type] : classes_) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(module)) == type.ptr()) continue;
    if (PyObject_SetAttrString(module, "__class__", type.ptr()) < 0) nb::raise_python_error();
    changed.push_back("__class__");
  }
  for (Dict& saved : dicts_) {
    if (saved.version && saved.version == version_of(saved.live.ptr())) continue;
    PyObject *key, *value;
    bool differs = PyDict_GET_SIZE(saved.live.ptr()) != PyDict_GET_SIZE(saved.copy.ptr());
    for (Py_ssize_t at = 0; PyDict_Next(saved.live.ptr(), &at, &key, &value);) {
      if (PyDict_GetItem(saved.copy.ptr(), key) == value) continue;
      differs = true;
      PyObject* const name = saved.attribute.is_valid() ? saved.attribute.ptr() : key;
      changed.push_back((saved.path->empty() ? "" : *saved.path + ".") + text_of(nb::handle(name)));
    }
    if (!differs) continue;
    // Emptied and filled again, so that the order of keys comes back too.
    if (PyODict_CheckExact(saved.live.ptr())) {  // has an order of its own beside the dict's
      saved.live.attr("clear")();
      saved.live.attr("update")(saved.copy);
      continue;
    }
    PyDict_Clear(saved.live.ptr());
    if (PyDict_Update(saved.live.ptr(), saved.copy.ptr()) < 0) nb::raise_python_error();
  }
  for (nb::object& registry : empty_)
    if (PyDict_GET_SIZE(registry.ptr()) > 0) registry.attr("clear")();
  for (Container& saved : containers_) {
    nb::object now = nb::steal(PySequence_List(saved.live.ptr()));
    if (!now.is_valid()) nb::raise_python_error();
    bool differs = PyList_GET_SIZE(now.ptr()) != PyList_GET_SIZE(saved.copy.ptr());
    for (Py_ssize_t i = 0; !differs && i < PyList_GET_SIZE(now.ptr()); ++i)
      differs = PyList_GET_ITEM(now.ptr(), i) != PyList_GET_ITEM(saved.copy.ptr(), i);
    if (!differs) continue;
    changed.push_back((saved.path->empty() ? "" : *saved.path + ".") + saved.name);
    saved.live.attr("clear")();
    saved.live.attr(PyList_Check(saved.live.ptr()) ? "extend" : "update")(saved.copy);
  }
  for (const Buffer& saved : buffers_) {
    if (!is_changed(saved)) continue;
    changed.push_back((saved.module->empty() ? "" : *saved.module + ".") + text_of(nb::handle(saved.name)));
    saved.live.attr("detach")().attr("copy_")(copy_of(saved));
  }
  return changed;
}

}  // namespace modulize
