// Calls of torch during a capture. The recorded ones go to torch_call, which record/proxy.h declares.
#pragma once

#include "bridge/record/proxy.h"

namespace modulize {

/// Before a call of torch while nothing is recorded: Parameters that it writes are put back after the capture.
void before_unrecorded_call(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs);

}  // namespace modulize
