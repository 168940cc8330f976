#include "bridge/intercept/torch_functions.h"

#include "bridge/boundary/call_sites.h"
#include "bridge/boundary/torch_call.h"
#include "bridge/boundary/without_values.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

// --- torch.overrides.handle_torch_function ---------------------------------------------------------------

// torch's own goes through a Python context manager, several microseconds a call. `self` is the original.
PyObject* handle_torch_function_slot(PyObject* original, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  Recorder* recorder = Recorder::recording();
  if (!recorder || nargs < 2) return PyObject_Vectorcall(original, args, static_cast<std::size_t>(nargs), kwnames);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (!TorchTypes::instance().top_mode().is(recorder->attention().function_mode))
      return PyObject_Vectorcall(original, args, static_cast<std::size_t>(nargs), kwnames);
    nb::object call_args = nb::steal(PyTuple_New(nargs - 2));
    if (!call_args.is_valid()) nb::raise_python_error();
    for (Py_ssize_t i = 2; i < nargs; ++i) {
      Py_INCREF(args[i]);
      PyTuple_SET_ITEM(call_args.ptr(), i - 2, args[i]);
    }
    nb::object call_kwargs;
    if (kwnames) {
      call_kwargs = nb::steal(PyDict_New());
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i)
        if (PyDict_SetItem(call_kwargs.ptr(), PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0)
          nb::raise_python_error();
    }
    if (const auto it = recorder->settings.opened_functions.find(args[0]);
        it != recorder->settings.opened_functions.end())
      return PyObject_Call(it->second.ptr(), call_args.ptr(), call_kwargs.is_valid() ? call_kwargs.ptr() : nullptr);
    Pause off(*recorder);
    return torch_call(*recorder, args[0], call_args.ptr(), call_kwargs.is_valid() ? call_kwargs.ptr() : nullptr);
  });
}

PyMethodDef handle_torch_function_def = {"handle_torch_function", as_c_function(handle_torch_function_slot),
                                         METH_FASTCALL | METH_KEYWORDS, nullptr};

// --- the function mode ------------------------------------------------------------------------------------

PyObject* mode_torch_function(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  // (func, types, args=(), kwargs=None); torch has taken this mode off its stack.
  if (nargs < 2 || nargs > 4 || kwnames) {
    PyErr_SetString(PyExc_TypeError, "__torch_function__(func, types, args, kwargs)");
    return nullptr;
  }
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    nb::object call_args = nargs > 2 ? nb::borrow(args[2]) : nb::object(nb::tuple());
    PyObject* kwargs = nargs > 3 && args[3] != Py_None && PyDict_GET_SIZE(args[3]) ? args[3] : nullptr;
    Recorder* recorder = Recorder::recording();
    if (recorder) return torch_call(*recorder, args[0], call_args.ptr(), kwargs);
    if (Recorder* running = Recorder::current()) before_unrecorded_call(*running, args[0], call_args.ptr(), kwargs);
    if (Recorder* observing = Recorder::observing()) note_site(*observing, args[0], call_args.ptr(), kwargs);
    PyObject* const result = PyObject_Call(args[0], call_args.ptr(), kwargs);
    if (Recorder* running = result ? nullptr : Recorder::current())
      refuse_without_values(*running, FunctionNames::instance().find(args[0]), call_args.ptr(), kwargs);
    return result;
  });
}

PyMethodDef mode_methods[] = {
    {"__torch_function__", as_c_function(mode_torch_function), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* function_mode() {
  static PyObject* mode = nullptr;
  if (mode) return mode;
  // torch wants a TorchFunctionMode where it looks at the kind of a mode.
  nb::object base = nb::module_::import_("torch.overrides").attr("TorchFunctionMode");
  static PyType_Slot slots[] = {{Py_tp_methods, mode_methods}, {0, nullptr}};
  static PyType_Spec spec = {"modulize._core.CaptureMode", 0, 0, Py_TPFLAGS_DEFAULT, slots};
  spec.basicsize = static_cast<int>(reinterpret_cast<PyTypeObject*>(base.ptr())->tp_basicsize);
  nb::object type = nb::steal(PyType_FromSpecWithBases(&spec, nb::make_tuple(base).ptr()));
  if (!type.is_valid()) nb::raise_python_error();
  mode = type().release().ptr();
  return mode;
}

ModeOnStack::ModeOnStack(Recorder& recorder) {
  if (!TorchTypes::instance().push_mode) {
    if (recorder.mode() == CaptureMode::symbolic) return;  // whose proxies see the calls
    throw Error(ErrorCode::UnsupportedError,
                "capture by running needs torch 1.13 or later: prepare the model without example inputs");
  }
  recorder.attention().function_mode = function_mode();
  nb::object done =
      nb::steal(PyObject_CallOneArg(TorchTypes::instance().push_mode, recorder.attention().function_mode));
  if (!done.is_valid()) nb::raise_python_error();
}

ModeOnStack::~ModeOnStack() {
  if (!TorchTypes::instance().push_mode) return;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyObject* done = PyObject_CallNoArgs(TorchTypes::instance().pop_mode);
  if (!done) PyErr_WriteUnraisable(nullptr);
  Py_XDECREF(done);
  PyErr_Restore(type, value, trace);
}

namespace {

// `self` is Tensor.set_, which torch hands to no function mode.
PyObject* set_slot(PyObject* original, PyObject* args, PyObject* kwargs) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    Pause off(*recorder);
    return torch_call(*recorder, original, args, kwargs);
  });
}
PyMethodDef set_def = {"set_", as_c_function(set_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

}  // namespace

void patch_torch_functions(Patches& patches) {
  PyTypeObject* const tensor_base = TorchTypes::instance().tensor_base;
  if (PyObject* const original = PyDict_GetItemString(tensor_base->tp_dict, "set_")) {
    static PyObject* const replacement =
        checked(PyInstanceMethod_New(c_function(&set_def, nb::handle(original)).ptr())).release().ptr();
    patches.set_class_entry(tensor_base, "set_", nb::handle(replacement));
  }
  nb::str name("handle_torch_function");
  for (const char* module : {"torch.nn.functional", "torch.functional", "torch._tensor"}) {
    nb::object globals = nb::module_::import_(module).attr("__dict__");
    PyObject* original = PyDict_GetItem(globals.ptr(), name.ptr());
    if (original) patches.set_item(globals, name, c_function(&handle_torch_function_def, nb::handle(original)));
  }
}

}  // namespace modulize
