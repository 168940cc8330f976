// Calls of modules: leaves become call_module nodes, other modules are traced through in a scope of their own.
#pragma once

#include "bridge/record/recorder.h"

namespace modulize {

// `module(*args)` as vectorcall has it. New reference, null with a Python error set. GIL held; throw Error or
// nb::python_error.

/// A module's __call__ that is recorded.
PyObject* module_call(Recorder& recorder, PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
/// One by code that is kept whole: its arguments are an example to prepare the module with.
PyObject* inner_call(Recorder& recorder, PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
/// One while code runs that is not recorded, but watched.
PyObject* watched_call(Recorder& recorder, PyObject* module, PyObject* const* args, Py_ssize_t nargs,
                       PyObject* kwnames);

}  // namespace modulize
