#include "bridge/intercept/checkpoint.h"

#include "bridge/boundary/whole.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"
#include "ir/runtime_calls.h"

namespace modulize {

namespace {

// The inside is recorded: its gradients are those of the checkpointed one, its memory is not.
PyObject* record_through(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs, bool reentrant) {
  if (!reentrant) {
    nb::object result = nb::steal(PyObject_Call(function, args, kwargs));
    if (result.is_valid()) recorder.checkpointed().note(result.ptr());
    return result.release().ptr();
  }
  // A reentrant checkpoint gives no gradients to anything unless an argument asks for one.
  Regions::Maker maker{std::string(kReentrant), {}, {}};
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    if (TorchTypes::instance().is_tensor(PyTuple_GET_ITEM(args, i)) || is_proxy(PyTuple_GET_ITEM(args, i)))
      maker.args.push_back(recorder.to_value(PyTuple_GET_ITEM(args, i)));
  recorder.regions().enter(args, std::move(maker));
  nb::object result = nb::steal(PyObject_Call(function, args, kwargs));
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  recorder.regions().leave(args);
  PyErr_Restore(type, value, trace);
  return result.release().ptr();
}

// `self` is (checkpoint, clone).
PyObject* checkpoint_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  Recorder* recorder = Recorder::recording();
  if (!recorder || PyTuple_GET_SIZE(call[0]) == 0 || PyTuple_GET_ITEM(call[0], 0) == Py_None)
    return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], or_null(call[1]));
  return guarded<PyObject*>(nullptr, [&] {
    nb::object rest = checked(PyTuple_GetSlice(call[0], 1, PyTuple_GET_SIZE(call[0])));
    nb::object kwargs = checked(PyDict_Copy(call[1]));
    PyObject* flag = PyDict_GetItemString(kwargs.ptr(), "use_reentrant");
    const bool reentrant = !flag || flag == Py_None || flag == Py_True;
    for (const char* own : {"use_reentrant", "preserve_rng_state", "context_fn", "determinism_check", "debug",
                            "early_stop", "respect_saved_tensors_hooks"})
      if (PyDict_GetItemString(kwargs.ptr(), own)) PyDict_DelItemString(kwargs.ptr(), own);
    return record_through(*recorder, PyTuple_GET_ITEM(call[0], 0), rest.ptr(), or_null(kwargs.ptr()), reentrant);
  });
}
PyMethodDef checkpoint_def = {"checkpoint", as_c_function(checkpoint_slot), METH_FASTCALL, nullptr};

// `self` is (_checkpoint_impl, clone): (function, args, kwargs, *, use_reentrant, ...).
PyObject* checkpoint_impl_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  Recorder* recorder = Recorder::recording();
  if (!recorder || PyTuple_GET_SIZE(call[0]) != 3)
    return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], or_null(call[1]));
  return guarded<PyObject*>(nullptr, [&] {
    PyObject* flag = PyDict_GetItemString(call[1], "use_reentrant");
    const bool reentrant = !flag || flag == Py_None || flag == Py_True;
    return record_through(*recorder, PyTuple_GET_ITEM(call[0], 0), PyTuple_GET_ITEM(call[0], 1),
                          or_null(PyTuple_GET_ITEM(call[0], 2)), reentrant);
  });
}
PyMethodDef checkpoint_impl_def = {"_checkpoint_impl", as_c_function(checkpoint_impl_slot), METH_FASTCALL, nullptr};

}  // namespace

void patch_checkpoint(Patches& patches) {
  PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), "torch.utils.checkpoint");
  if (!module) return;
  const auto replace = [&](const char* name, PyMethodDef* def) {
    nb::object function = nb::getattr(nb::handle(module), name, nb::none());
    if (PyFunction_Check(function.ptr())) replace_code(patches, function, def);
  };
  replace("checkpoint", &checkpoint_def);
  replace("_checkpoint_impl", &checkpoint_impl_def);
}

}  // namespace modulize
