// Calls of Python functions that stay one node.
#pragma once

#include "bridge/boundary/call_outside.h"

namespace modulize {

/// `kept` says why, for the report; null for functions that have no inside (math.*). `args` is a tuple, `kwargs` a dict
/// or null. New reference, null with a Python error set. GIL held; throws Error or nb::python_error.
PyObject* opaque_call(Recorder& recorder, CallKind kind, PyObject* function, PyObject* args, PyObject* kwargs,
                      const char* kept);

}  // namespace modulize
