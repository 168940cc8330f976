// Nodes for calls of Python objects.
#pragma once

#include "bridge/record/function_names.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// `callable(*args, **kwargs)` as a call_function or call_method node. `args` is a tuple, `kwargs` a dict or null.
NodeId add_call(Recorder& recorder, PyObject* callable, const CallName& name, PyObject* args, PyObject* kwargs);

}  // namespace modulize
