// Which memory of the model a call of torch writes, or lets others write.
#pragma once

#include "bridge/record/function_names.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// Does the method give a tensor's memory to code that torch does not see?
bool hands_memory_out(const CallName& name);

/// Before a call of torch, recorded or not: what it may write is copied into the checkpoint. `is_recorded`: a tensor
/// that no node made is no temporary of unrecorded code, but lives outside of the call.
void before_write(Recorder& recorder, const CallName& name, PyObject* args, PyObject* kwargs, bool is_recorded);

/// The same before the call of a layer of torch, whose inside nobody watches.
void before_layer(Recorder& recorder, PyObject* module);

}  // namespace modulize
