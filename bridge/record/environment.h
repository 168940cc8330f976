// Questions that forward asks about the world around it: torch.jit.is_tracing(), torch.is_grad_enabled(), ...
#pragma once

#include <string>

#include "bridge/record/recorder.h"

namespace modulize {

/// Forward asks whether something outside of it is so, and gets this answer: the one place where it is given.
bool ambient(Recorder& recorder, const std::string& question, ValueList args, bool answer);
/// The Python code that runs, so many frames above, is torch's own.
bool is_asked_by_torch(int frames_above);

}  // namespace modulize
