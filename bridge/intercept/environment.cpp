#include "bridge/intercept/environment.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/environment.h"
#include "bridge/record/recorder.h"
#include "bridge/record/regions.h"

namespace modulize {

namespace {

PyObject* answer(Recorder& recorder, const std::string& question, PyObject* args, PyObject* kwargs, bool truth) {
  ValueList values;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    values.push_back(recorder.to_value(PyTuple_GET_ITEM(args, i)));
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);) values.push_back(recorder.to_value(value));
  return PyBool_FromLong(ambient(recorder, question, std::move(values), truth));
}

// A builtin. `self` is (original, question, the answer outside of the capture, or None where the capture changes
// nothing).
PyObject* builtin_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    nb::object truth = checked(PyObject_Call(original, args, kwargs));
    PyObject* outside = PyTuple_GET_ITEM(self, 2);
    if (outside != Py_None && !recorder->regions().gradients_are_set()) truth = nb::borrow(outside);
    return answer(*recorder, text_of(PyTuple_GET_ITEM(self, 1)), args, kwargs, truth.is(nb::handle(Py_True)));
  });
}
PyMethodDef builtin_def = {"ambient", as_c_function(builtin_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// A Python function. `self` is (function, clone with the real code, question). Torch's own code asks for reasons of its
// own: a function under torch.jit.script_if_tracing is the same scripted or not.
PyObject* function_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  nb::object truth = nb::steal(PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], call[1]));
  Recorder* recorder = truth.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder) return truth.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    if (is_asked_by_torch(/*frames_above=*/1)) return truth.release().ptr();
    return answer(*recorder, text_of(PyTuple_GET_ITEM(self, 2)), call[0], nullptr, truth.is(nb::handle(Py_True)));
  });
}
PyMethodDef function_def = {"ambient", as_c_function(function_slot), METH_FASTCALL, nullptr};

constexpr const char* kFunctions[][3] = {
    // module, function, question
    {"torch.jit._trace", "is_tracing", "torch.jit.is_tracing"},
    {"torch.compiler", "is_compiling", "torch.compiler.is_compiling"},
    {"torch._utils", "is_compiling", "torch.compiler.is_compiling"},
    {"torch._dynamo.external_utils", "is_compiling", "torch.compiler.is_compiling"},
    {"torch.compiler", "is_dynamo_compiling", "torch.compiler.is_dynamo_compiling"},
    {"torch.compiler", "is_exporting", "torch.compiler.is_exporting"},
    {"torch.onnx", "is_in_onnx_export", "torch.onnx.is_in_onnx_export"},
};

// Settings of torch that are no yes or no: an answer is an assumption.
constexpr const char* kSettings[] = {"get_float32_matmul_precision",
                                     "are_deterministic_algorithms_enabled",
                                     "is_deterministic_algorithms_warn_only_enabled",
                                     "get_num_threads",
                                     "get_num_interop_threads",
                                     "get_deterministic_debug_mode"};

// `self` is (original, its name).
PyObject* setting_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  nb::object answer = nb::steal(PyObject_Call(PyTuple_GET_ITEM(self, 0), args, kwargs));
  Recorder* recorder = answer.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder || PyTuple_GET_SIZE(args) > 0 || is_asked_by_torch(0)) return answer.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const std::string name = text_of(PyTuple_GET_ITEM(self, 1)), line = recorder->places().here();
    add_check(*recorder, recorder->add_function(name, {}, ValueType::other), recorder->to_value(answer.ptr()),
              name + "()" + (line.empty() ? "" : " at " + line));
    return answer.release().ptr();
  });
}
PyMethodDef setting_def = {"setting", as_c_function(setting_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

}  // namespace

std::size_t ambient_functions_loaded() {
  PyObject* modules = PyImport_GetModuleDict();
  std::size_t count = 0;
  for (const auto& [home, name, question] : kFunctions) count += PyDict_GetItemString(modules, home) != nullptr;
  return count;
}

std::vector<std::pair<nb::object, nb::object>> patch_environment(Patches& patches, bool grad_was_enabled) {
  std::vector<std::pair<nb::object, nb::object>> replaced;
  nb::module_ torch = nb::module_::import_("torch");
  const auto ask = [&](const char* name, nb::object outside) {
    if (!nb::hasattr(torch, name)) return;
    nb::object original = torch.attr(name);
    const std::string question = std::string("torch.") + name;
    nb::object self = nb::make_tuple(original, question, std::move(outside));
    nb::object wrapper = checked(PyCFunction_New(&builtin_def, self.ptr()));
    patches.set_item(torch.attr("__dict__"), nb::str(name), wrapper);
    replaced.emplace_back(std::move(original), std::move(wrapper));
  };
  ask("is_grad_enabled", nb::bool_(grad_was_enabled));
  ask("is_inference_mode_enabled", nb::none());
  ask("is_autocast_enabled", nb::none());
  ask("is_autocast_cpu_enabled", nb::none());
  for (const char* name : kSettings) {
    if (!nb::hasattr(torch, name)) continue;  // of a newer torch
    nb::object original = torch.attr(name);
    nb::object self = nb::make_tuple(original, std::string("torch.") + name);
    nb::object wrapper = checked(PyCFunction_New(&setting_def, self.ptr()));
    patches.set_item(torch.attr("__dict__"), nb::str(name), wrapper);
    replaced.emplace_back(std::move(original), std::move(wrapper));
  }
  nb::object modules = nb::module_::import_("sys").attr("modules");
  for (const auto& [home, name, question] : kFunctions) {
    PyObject* module = PyDict_GetItemString(modules.ptr(), home);
    if (!module || !nb::hasattr(module, name)) continue;
    nb::object function = nb::handle(module).attr(name);
    if (PyFunction_Check(function.ptr())) replace_code(patches, function, &function_def, nb::str(question));
  }
  return replaced;
}

}  // namespace modulize
