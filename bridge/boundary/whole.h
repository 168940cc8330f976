// Calls whose inside may not be recorded: recording it would lose a backward, see compiled code as nothing, or record a
// transformed computation as a plain one.
#pragma once

#include <functional>

#include "bridge/record/recorder.h"

namespace modulize {

/// The dict, or null where it is empty.
inline PyObject* or_null(PyObject* dict) { return dict && PyDict_GET_SIZE(dict) ? dict : nullptr; }
inline NodeId next_node(Recorder& recorder) { return static_cast<NodeId>(recorder.graph().id_limit()); }

/// Adds the positional arguments from `begin` on and the keyword ones to `node`; functions are made anew around the
/// recorded values that they hold.
void add_arguments(Recorder& recorder, PyObject* args, Py_ssize_t begin, PyObject* kwargs, Node& node);

/// Adds `node` and gives what `run` returns, which is not recorded, as its result. `first`: the first node made for it.
PyObject* record_whole(Recorder& recorder, NodeId first, Node node, const std::function<PyObject*()>& run,
                       const std::function<bool()>& in_place = {});

}  // namespace modulize
