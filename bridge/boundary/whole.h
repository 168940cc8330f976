// Calls whose inside may not be recorded: recording it would lose a backward, see compiled code as nothing, or record a
// transformed computation as a plain one.
#pragma once

#include <functional>
#include <string>

#include "bridge/boundary/call_outside.h"

namespace modulize {

/// The dict, or null where it is empty.
inline PyObject* or_null(PyObject* dict) { return dict && PyDict_GET_SIZE(dict) ? dict : nullptr; }

/// Adds the positional arguments from `begin` on and the keyword ones to `node`; functions are made anew around the
/// recorded values that they hold.
void add_arguments(Recorder& recorder, PyObject* args, Py_ssize_t begin, PyObject* kwargs, Node& node);

/// call_outside of a call_function node that `describe` fills in: its name or callee and its arguments.
PyObject* record_whole(Recorder& recorder, CallKind kind, const std::string& callee, PyObject* args, PyObject* kwargs,
                       const std::function<void(Node&)>& describe, const std::function<PyObject*()>& run,
                       const std::function<bool()>& in_place = {});

}  // namespace modulize
