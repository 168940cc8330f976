// What every file that gives Python a C function needs.
#pragma once

#include <utility>

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

/// What a vectorcall slot is given: the positional ones as a tuple, the others as a dict, which is invalid where there
/// are none. Throws nb::python_error.
inline std::pair<nb::object, nb::object> as_args_and_kwargs(PyObject* const* args, Py_ssize_t nargs,
                                                            PyObject* kwnames) {
  nb::object tuple = checked(PyTuple_New(nargs)), dict;
  for (Py_ssize_t i = 0; i < nargs; ++i) {
    Py_INCREF(args[i]);
    PyTuple_SET_ITEM(tuple.ptr(), i, args[i]);
  }
  if (kwnames && PyTuple_GET_SIZE(kwnames)) {
    dict = checked(PyDict_New());
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i)
      if (PyDict_SetItem(dict.ptr(), PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0) nb::raise_python_error();
  }
  return {std::move(tuple), std::move(dict)};
}

}  // namespace modulize
