// What every file that gives Python a C function needs.
#pragma once

#include "bridge/python/python.h"

namespace modulize {

/// The form in which a method table wants a function of any calling convention.
template <class F>
PyCFunction as_c_function(F* f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

/// What the replaced code of a Python function calls takes (args, kwargs). False, with the Python error set, where it
/// was called with another number.
inline bool is_args_and_kwargs(Py_ssize_t nargs) {
  if (nargs == 2) return true;
  PyErr_SetString(PyExc_TypeError, "expected (args, kwargs)");
  return false;
}

}  // namespace modulize
