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

/// A new reference to a proxy of `node`.
PyObject* make_proxy_object(std::uint32_t capture, NodeId node);

}  // namespace modulize
