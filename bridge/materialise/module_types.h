// What materialise needs of the installed torch and of CPython's string pool, looked up once a process.
#pragma once

#include <string_view>

#include "bridge/python/python.h"

namespace modulize {

struct ModuleTypes {
  PyTypeObject *module, *script_module, *lazy_mixin, *parameter, *sequential, *module_list, *module_dict, *wrapped_hook,
      *partial, *ordered_dict, *default_dict, *deque;
  /// Interned.
  PyObject *modules, *parameters, *buffers, *non_persistent, *training, *dict, *cls;
  PyObject* empty_tuple;

  /// Never freed.
  static const ModuleTypes& instance();

  bool is_module(PyObject* object) const { return PyObject_TypeCheck(object, module); }
  bool is_container(PyObject* object) const {
    return PyObject_TypeCheck(object, sequential) || PyObject_TypeCheck(object, module_list) ||
           PyObject_TypeCheck(object, module_dict);
  }
};

/// The instance's `__dict__` itself, whatever its class makes of attribute access. Throws nb::python_error.
nb::object instance_dict(PyObject* object);

/// `dict[key]` of an instance dict, borrowed; null if it has none.
PyObject* dict_get(PyObject* dict, PyObject* key);

nb::object make_text(std::string_view text);
std::string_view view_text(PyObject* text);

/// Throws nb::python_error where a function of CPython has failed.
inline void check(int result) {
  if (result < 0) throw nb::python_error();
}

}  // namespace modulize
