#include "bridge/python/names.h"

#include "support/error.h"

namespace modulize {

namespace {

nb::object text(std::string_view s) {
  nb::object out = nb::steal(PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "surrogatepass"));
  if (!out.is_valid()) throw nb::python_error();
  return out;
}

// Null without a Python error if `name` is no module: neither it nor a package above it can be found.
nb::object import_module(std::string_view name) {
  const nb::object key = text(name);
  if (PyObject* loaded = PyImport_GetModule(key.ptr())) {
    nb::object module = nb::steal(loaded);
    if (!module.is_none()) return module;
  } else if (PyErr_Occurred()) {
    throw nb::python_error();
  }
  PyObject* module = PyImport_Import(key.ptr());
  if (module) return nb::steal(module);
  if (!PyErr_ExceptionMatches(PyExc_ModuleNotFoundError)) throw nb::python_error();
  // Missing is `name` itself or a part of it; a module that it imports being missing is the module's own error.
  nb::python_error error;
  const nb::object missing = nb::getattr(error.value(), "name", nb::none());
  Py_ssize_t size = 0;
  const char* part = PyUnicode_Check(missing.ptr()) ? PyUnicode_AsUTF8AndSize(missing.ptr(), &size) : nullptr;
  if (!part) throw error;
  const std::string_view found(part, static_cast<std::size_t>(size));
  const bool own =
      name == found || (name.size() > found.size() && name.starts_with(found) && name[found.size()] == '.');
  if (!own) throw error;
  return {};
}

// Null without a Python error if there is no such attribute.
nb::object find_attribute(nb::handle object, std::string_view name) {
  PyObject* value = PyObject_GetAttr(object.ptr(), text(name).ptr());
  if (value) return nb::steal(value);
  if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw nb::python_error();
  PyErr_Clear();
  return {};
}

}  // namespace

nb::object resolve_name(std::string_view qualified) {
  std::size_t end = std::min(qualified.find('.'), qualified.size());
  nb::object object = import_module(qualified.substr(0, end));
  bool is_module = object.is_valid();
  while (object.is_valid() && end < qualified.size()) {
    const std::size_t start = end + 1;
    end = std::min(qualified.find('.', start), qualified.size());
    nb::object next = find_attribute(object, qualified.substr(start, end - start));
    // A submodule that nobody imported yet is no attribute of its package.
    if (!next.is_valid() && is_module) next = import_module(qualified.substr(0, end));
    is_module = next.is_valid() && PyModule_Check(next.ptr());
    object = std::move(next);
  }
  if (!object.is_valid())
    throw Error(ErrorCode::ModulizeError,
                "cannot find '" + std::string(qualified) + "': no such name can be imported in this Python");
  return object;
}

}  // namespace modulize
