#include "bridge/intercept/modules.h"

#include <vector>

#include "bridge/boundary/module_call.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

// --- nn.Module.__call__ -------------------------------------------------------------------------------

PyObject* original_module_call = nullptr;  // the Python function; immortal

PyObject* module_call_slot(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  if (Recorder* recorder = Recorder::recording())
    return guarded<PyObject*>(nullptr, [&] { return module_call(*recorder, self, args, nargs, kwnames); });
  if (Recorder* recorder = Recorder::observing())
    return guarded<PyObject*>(nullptr, [&] { return inner_call(*recorder, self, args, nargs, kwnames); });
  // Layers of torch have other kernels where a function mode is on the stack.
  if (Recorder* recorder = Recorder::current(); recorder && recorder->attention().is_watching())
    return guarded<PyObject*>(nullptr, [&] { return watched_call(*recorder, self, args, nargs, kwnames); });
  // Vectorcall with `self` in front.
  const Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  std::vector<PyObject*> all(static_cast<std::size_t>(1 + nargs + named));
  all[0] = self;
  for (Py_ssize_t i = 0; i < nargs + named; ++i) all[static_cast<std::size_t>(1 + i)] = args[i];
  return PyObject_Vectorcall(original_module_call, all.data(), static_cast<std::size_t>(1 + nargs), kwnames);
}

PyMethodDef module_call_def = {"__call__", as_c_function(module_call_slot), METH_FASTCALL | METH_KEYWORDS, nullptr};

// --- Module.__getattr__: parameters and buffers as symbols ----------------------------------------------

PyObject* original_getattr = nullptr;

PyObject* module_getattr_slot(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject*) {
  if (nargs != 1) {
    PyErr_SetString(PyExc_TypeError, "__getattr__ takes one argument");
    return nullptr;
  }
  PyObject* pair[2] = {self, args[0]};
  nb::object found = nb::steal(PyObject_Vectorcall(original_getattr, pair, 2, nullptr));
  if (!found.is_valid()) return nullptr;
  Recorder* recorder = Recorder::recording();
  if (!recorder || !TorchTypes::instance().is_tensor(found.ptr())) return found.release().ptr();
  return guarded<PyObject*>(nullptr, [&] { return make_proxy(*recorder, recorder->to_value(found.ptr()).as_node()); });
}

PyMethodDef module_getattr_def = {"__getattr__", as_c_function(module_getattr_slot), METH_FASTCALL | METH_KEYWORDS,
                                  nullptr};

}  // namespace

void patch_modules(Patches& patches, CaptureMode mode) {
  nb::object module_class = nb::borrow(reinterpret_cast<PyObject*>(TorchTypes::instance().module));
  if (!original_module_call) original_module_call = nb::object(module_class.attr("__call__")).release().ptr();
  // A method descriptor binds to the instance; a plain builtin function would not.
  PyTypeObject* const module_type = TorchTypes::instance().module;
  nb::object call = nb::steal(PyDescr_NewMethod(module_type, &module_call_def));
  patches.set_class_entry(module_type, "__call__", call);
  if (mode == CaptureMode::symbolic) {
    if (!original_getattr) original_getattr = nb::object(module_class.attr("__getattr__")).release().ptr();
    nb::object getter = nb::steal(PyDescr_NewMethod(module_type, &module_getattr_def));
    patches.set_class_entry(module_type, "__getattr__", getter);
  }
}

}  // namespace modulize
