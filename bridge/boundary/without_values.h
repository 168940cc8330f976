// Tensors on the meta device have shapes and no values: what a capture makes of a call that asks for some.
#pragma once

#include "bridge/record/function_names.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// Is a tensor among the arguments on the meta device? `kwargs` may be null.
bool is_without_values(PyObject* args, PyObject* kwargs);

/// After a call that raised, whose node is `node`. What stands for the answer: of a bool the outcome of a decision, of
/// a number one that is not there, by which forward may decide. New reference, the Python error cleared; null, the
/// error as it was, where the call yields neither or values are not what it lacks.
PyObject* answer_without_values(Recorder& recorder, const CallName& name, NodeId node, PyObject* args,
                                PyObject* kwargs);

/// After a call that raised: throws where what it lacks are values; does nothing where the error says something else.
void refuse_without_values(Recorder& recorder, const CallName& name, PyObject* args, PyObject* kwargs);
/// The same of a layer of torch.nn.
void refuse_layer_without_values(Recorder& recorder, PyObject* layer, PyObject* args, PyObject* kwargs);

}  // namespace modulize
