// The symbolic value of the capture without inputs: a C type derived from torch.fx.Proxy.
#pragma once

#include "bridge/record/recorder.h"

namespace modulize {

/// Creates the type at first use (it needs torch.fx). Throws nb::python_error.
PyTypeObject* proxy_type();

bool is_proxy(PyObject* object);

/// The node of a proxy that belongs to `recorder` (makes the node of a pending attribute); kNoNode for anything else.
/// Throws CaptureError for a proxy of another capture.
NodeId proxy_node(PyObject* object, Recorder& recorder);

/// A call that torch dispatched to a capture, which a proxy or the function mode has got: records
/// `function(*args, **kwargs)` and runs it (running), or only records it (symbolic). `args` is a tuple, `kwargs` a dict
/// or null. New reference, null with a Python error set. GIL held; throws Error or nb::python_error. Defined in
/// boundary/torch_call.cpp.
PyObject* torch_call(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs);

/// A symbolic value of `node`: a new reference.
PyObject* make_proxy(Recorder& recorder, NodeId node);

}  // namespace modulize
