// Reads of Module.training by traced code. If the very next call takes the flag as an argument, that argument follows
// it; otherwise Python decided something by it, which becomes a check.
#pragma once

#include "bridge/record/recorder.h"

namespace modulize {

/// Traced code read `training` of `module`.
void note_training_read(Recorder& recorder, PyObject* module);
/// Makes the check for a read that no call took.
void settle_training_read(Recorder& recorder);
/// `flag` as an argument of the call whose nodes begin at `call_begin`: the mode flag of a module if traced code has
/// read it just now.
Value flag_value(Recorder& recorder, PyObject* flag, NodeId call_begin);

}  // namespace modulize
