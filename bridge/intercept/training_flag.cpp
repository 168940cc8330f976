#include "bridge/intercept/training_flag.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "bridge/record/training_flag.h"

namespace modulize {

namespace {

// --- Module.training ----------------------------------------------------------------------------------------

// A data descriptor on the class comes before the instance's own attribute, where the flag stays.
PyObject* training_name() {
  static PyObject* const name = PyUnicode_InternFromString("training");
  return name;
}

PyObject* training_get(PyObject* self, void*) {
  PyObject** slot = _PyObject_GetDictPtr(self);
  PyObject* flag = slot && *slot ? PyDict_GetItem(*slot, training_name()) : nullptr;
  if (!flag) {
    // nn.Module declares the flag in its class, and __getattr__ has the last word.
    return PyObject_CallMethod(self, "__getattr__", "O", training_name());
  }
  if (Recorder* recorder = Recorder::recording()) note_training_read(*recorder, self);
  Py_INCREF(flag);
  return flag;
}

int training_set(PyObject* self, PyObject* value, void*) {
  PyObject** slot = _PyObject_GetDictPtr(self);
  if (!slot || !*slot) {
    PyErr_SetString(PyExc_AttributeError, "training");
    return -1;
  }
  Recorder* recorder = Recorder::recording();
  if (recorder && recorder->scan().path_of(self))
    return guarded<int>(-1, [&]() -> int {
      Decisions& decisions = recorder->decisions();
      decisions.ask_to_keep("train() or eval() in forward",
                            " is not followed: say it in an overridden train() of the model, or exclude the function "
                            "(functions_to_exclude) or the module (modules_to_exclude) that does it",
                            decisions.candidates());
    });
  return value ? PyDict_SetItem(*slot, training_name(), value) : PyDict_DelItem(*slot, training_name());
}

PyGetSetDef training_def = {"training", training_get, training_set, nullptr, nullptr};

}  // namespace

void patch_training_flag(Patches& patches) {
  PyTypeObject* const module_type = TorchTypes::instance().module;
  nb::object training = nb::steal(PyDescr_NewGetSet(module_type, &training_def));
  patches.set_class_entry(module_type, "training", training);
}

}  // namespace modulize
