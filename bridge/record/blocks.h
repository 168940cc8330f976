// The brackets that hierarchy="keep" asks for around calls of modules that are traced through (ir/blocks.h).
#pragma once

#include <string>

#include "bridge/record/recorder.h"

namespace modulize {

/// The opening bracket of a call; arguments as vectorcall has them. kNoNode if they do not fit forward.
NodeId begin_block(Recorder& recorder, const std::string& path, PyObject* module, PyObject* const* args,
                   Py_ssize_t nargs, PyObject* kwnames);
/// The closing one: forward yielded `result`.
void end_block(Recorder& recorder, NodeId begin, PyObject* result);

}  // namespace modulize
