// Questions that forward asks about the world around it: torch.jit.is_tracing(), torch.is_grad_enabled(), ...
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bridge/python/patches.h"

namespace modulize {

/// Such questions go to Recorder::ambient while a capture runs. Returns builtins and what stands for them, for globals
/// that hold them by name.
std::vector<std::pair<nb::object, nb::object>> patch_environment(Patches& patches, bool grad_was_enabled);

/// How many modules that answer such questions are loaded. If forward has loaded one, its questions went unseen.
std::size_t ambient_functions_loaded();

}  // namespace modulize
