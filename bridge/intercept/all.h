// Everything that is put in place of torch's and Python's own for a capture, in its order.
#pragma once

#include <vector>

#include "bridge/record/recorder.h"

namespace modulize {

class Patches;

struct Interceptions {
  bool gradients_were_enabled;                 // before the capture
  std::vector<PyObject*> globals_naming_type;  // of the code that names `type`; without inputs
  bool decompose_attention;
  bool with_given_modules;        // arguments of forward are modules, or hold some
  nb::handle excluded_functions;  // an iterable or None
  const KeptWhole* kept;          // borrowed; null for nothing
};

/// `patches` undoes it. GIL held; throws Error or nb::python_error.
void patch_all(Patches& patches, Recorder& recorder, const Interceptions& what);

}  // namespace modulize
