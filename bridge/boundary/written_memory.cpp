#include "bridge/boundary/written_memory.h"

#include <algorithm>

#include "bridge/python/errors.h"
#include "bridge/world/checkpoint.h"

namespace modulize {

namespace {

/// Functions that write the statistics among their arguments: (input, running_mean, running_var, ...).
bool writes_statistics(const CallName& name) {
  return name.form == CallForm::function && (name.name.ends_with("batch_norm") || name.name.ends_with("instance_norm"));
}

struct Writes {
  Recorder& recorder;
  bool is_recorded;

  void one(PyObject* object) const {
    if (!object || !TorchTypes::instance().is_tensor(object)) return;
    recorder.world().before_write(object);
    if (is_recorded && recorder.node_of(object) == kNoNode) recorder.world().tensors().before_write_elsewhere(object);
  }
  void all(PyObject* object) const {
    if (object && (PyTuple_Check(object) || PyList_Check(object)))
      for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i) one(PySequence_Fast_GET_ITEM(object, i));
    else
      one(object);
  }
};

}  // namespace

bool hands_memory_out(const CallName& name) { return name.form == CallForm::method && name.tells == Tells::memory; }

void before_write(Recorder& recorder, const CallName& name, PyObject* args, PyObject* kwargs, bool is_recorded) {
  const Writes writes{recorder, is_recorded};
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  if (count > 0 && (name.in_place || (!is_recorded && hands_memory_out(name)))) writes.one(PyTuple_GET_ITEM(args, 0));
  if (writes_statistics(name))
    for (Py_ssize_t i = 1; i < std::min<Py_ssize_t>(count, 3); ++i) writes.one(PyTuple_GET_ITEM(args, i));
  if (!kwargs) return;
  writes.all(PyDict_GetItemString(kwargs, "out"));
  if (writes_statistics(name))
    for (const char* statistic : {"running_mean", "running_var"}) writes.one(PyDict_GetItemString(kwargs, statistic));
  // F.embedding scales the rows of its table that are longer.
  if (PyObject* const norm = PyDict_GetItemString(kwargs, "max_norm"); norm && norm != Py_None) writes.all(args);
}

void before_layer(Recorder& recorder, PyObject* module) {
  PyObject* const dict = attribute_dict(module);
  PyObject* const norm = dict ? PyDict_GetItemString(dict, "max_norm") : nullptr;
  if (!norm || norm == Py_None) return;
  PyObject* const parameters = PyDict_GetItemString(dict, "_parameters");
  if (!parameters || !PyDict_Check(parameters)) return;
  const Writes writes{recorder, false};
  PyObject *key, *value;
  for (Py_ssize_t at = 0; PyDict_Next(parameters, &at, &key, &value);) writes.one(value);
}

}  // namespace modulize
