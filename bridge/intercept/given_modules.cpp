#include "bridge/intercept/given_modules.h"

#include <algorithm>
#include <optional>

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/environment.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

/// What the instance itself holds: an attribute, a parameter, a buffer or a child. Null for what its class has.
PyObject* held_by(PyObject* module, PyObject* name) {
  PyObject* const dict = attribute_dict(module);
  if (!dict) return nullptr;
  if (PyObject* value = PyDict_GetItem(dict, name)) return value;
  for (const char* kind : {"_parameters", "_buffers", "_modules"}) {
    PyObject* const parts = PyDict_GetItemString(dict, kind);
    if (!parts || !PyDict_Check(parts)) continue;
    if (PyObject* value = PyDict_GetItem(parts, name)) return value;
  }
  return nullptr;
}

bool is_of_python(PyObject* name) {
  return PyUnicode_GET_LENGTH(name) > 4 && PyUnicode_READ_CHAR(name, 0) == '_' && PyUnicode_READ_CHAR(name, 1) == '_';
}

/// The recorder to which reads of the module belong; null where they are nobody's.
Recorder* recorder_of(PyObject* module) {
  Recorder* const recorder = Recorder::recording();
  return recorder && recorder->given().knows(module) ? recorder : nullptr;
}

PyObject* read_slot(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject*) {
  if (nargs != 1 || !PyUnicode_Check(args[0])) {
    PyErr_SetString(PyExc_TypeError, "__getattribute__ takes one name");
    return nullptr;
  }
  PyObject* const name = args[0];
  nb::object found = nb::steal(PyObject_GenericGetAttr(self, name));
  if (!found.is_valid() && !PyErr_ExceptionMatches(PyExc_AttributeError)) return nullptr;
  Recorder* const recorder = recorder_of(self);
  if (!recorder) return found.release().ptr();
  if (is_of_python(name)) {
    // Whoever has the dict reads and writes past all of this.
    if (PyUnicode_CompareWithASCIIString(name, "__dict__") == 0 && !is_asked_by_torch(0))
      return guarded<PyObject*>(nullptr, [&]() -> PyObject* { recorder->given().refuse_write(self, name); });
    return found.release().ptr();
  }
  std::optional<nb::python_error> missing;
  if (!found.is_valid()) missing.emplace();
  nb::object held = nb::borrow(held_by(self, name));
  if (found.is_valid() && !held.is_valid()) return found.release().ptr();  // of the class, which is checked
  if (held.is_valid()) {
    return guarded<PyObject*>(nullptr, [&] {
      recorder->given().read(self, name, held.ptr());
      return (found.is_valid() ? found : held).release().ptr();
    });
  }
  // The class's own __getattr__ has the last word where there is one.
  static PyObject* const usual =
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(TorchTypes::instance().module), "__getattr__");
  const nb::object own = nb::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(self)), "__getattr__"));
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (own.is(nb::handle(usual))) recorder->given().missed(self, name);
    missing->restore();
    return nullptr;
  });
}
PyMethodDef read_def = {"__getattribute__", as_c_function(read_slot), METH_FASTCALL | METH_KEYWORDS, nullptr};

PyObject* original_setattr = nullptr;  // Python functions; immortal
PyObject* original_delattr = nullptr;

PyObject* write(PyObject* original, PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  Recorder* const recorder = recorder_of(self);
  if (recorder && nargs > 0)
    return guarded<PyObject*>(nullptr, [&]() -> PyObject* { recorder->given().refuse_write(self, args[0]); });
  PyObject* all[3] = {self, nargs > 0 ? args[0] : nullptr, nargs > 1 ? args[1] : nullptr};
  return PyObject_Vectorcall(original, all, static_cast<std::size_t>(1 + nargs), nullptr);
}

PyObject* set_slot(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject*) {
  return write(original_setattr, self, args, std::min<Py_ssize_t>(nargs, 2));
}
PyMethodDef set_def = {"__setattr__", as_c_function(set_slot), METH_FASTCALL | METH_KEYWORDS, nullptr};

PyObject* delete_slot(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject*) {
  return write(original_delattr, self, args, std::min<Py_ssize_t>(nargs, 1));
}
PyMethodDef delete_def = {"__delattr__", as_c_function(delete_slot), METH_FASTCALL | METH_KEYWORDS, nullptr};

}  // namespace

void patch_given_modules(Patches& patches) {
  PyTypeObject* const type = TorchTypes::instance().module;
  const nb::handle module_class(reinterpret_cast<PyObject*>(type));
  if (!original_setattr) {
    original_setattr = nb::object(module_class.attr("__setattr__")).release().ptr();
    original_delattr = nb::object(module_class.attr("__delattr__")).release().ptr();
  }
  const auto method = [&](PyMethodDef* def) { return nb::steal(PyDescr_NewMethod(type, def)); };
  patches.set_class_entry(type, "__setattr__", method(&set_def));
  patches.set_class_entry(type, "__delattr__", method(&delete_def));
  // Set, not only entered: the slot of every subclass must become one that asks for it.
  patches.set_attribute(module_class, "__getattribute__", method(&read_def));
}

}  // namespace modulize
