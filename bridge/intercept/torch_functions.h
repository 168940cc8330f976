// Calls of torch: the function mode, and what torch itself does around it.
#pragma once

#include "bridge/python/patches.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// torch's handle_torch_function.
void patch_torch_functions(Patches& patches);

/// The function mode object; one a process.
PyObject* function_mode();

/// Pushes the function mode for its lifetime.
class ModeOnStack {
 public:
  explicit ModeOnStack(Recorder& recorder);
  ~ModeOnStack();
};

}  // namespace modulize
