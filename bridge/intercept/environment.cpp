#include "bridge/intercept/environment.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/environment.h"
#include "bridge/record/recorder.h"
#include "bridge/record/regions.h"
#include "ir/environment_queries.h"

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

// Settings of torch that are no yes or no: an answer is an assumption. `self` is (original, question).
PyObject* setting_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  nb::object answer = nb::steal(PyObject_Call(PyTuple_GET_ITEM(self, 0), args, kwargs));
  Recorder* recorder = answer.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder || PyTuple_GET_SIZE(args) > 0 || is_asked_by_torch(0)) return answer.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const std::string name = text_of(PyTuple_GET_ITEM(self, 1));
    add_check_here(*recorder, recorder->add_function(name, {}, ValueType::other), recorder->to_value(answer.ptr()),
                   name + "()");
    return answer.release().ptr();
  });
}
PyMethodDef setting_def = {"setting", as_c_function(setting_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// The dtype is asked for when the prepared model runs. `self` is (original, question).
PyObject* dtype_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  nb::object dtype = nb::steal(PyObject_Call(PyTuple_GET_ITEM(self, 0), args, kwargs));
  Recorder* recorder = dtype.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder) return dtype.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const NodeId node = recorder->add_function(text_of(PyTuple_GET_ITEM(self, 1)), {}, ValueType::other);
    return recorder->wrap_result(dtype.ptr(), node, false);
  });
}
PyMethodDef dtype_def = {"dtype", as_c_function(dtype_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

/// Calls `fn(query, module)` for the loaded modules that define a function of Python.
template <class Fn>
void for_each_home(Fn&& fn) {
  PyObject* const modules = PyImport_GetModuleDict();
  for (const EnvironmentQuery& query : environment_queries())
    for (const std::string_view home : query.homes)
      if (PyObject* const module = home.empty() ? nullptr : PyDict_GetItemString(modules, std::string(home).c_str()))
        fn(query, nb::handle(module));
}

}  // namespace

std::size_t ambient_functions_loaded() {
  std::size_t count = 0;
  for_each_home([&](const EnvironmentQuery&, nb::handle) { ++count; });
  return count;
}

std::vector<std::pair<nb::object, nb::object>> patch_environment(Patches& patches, bool grad_was_enabled) {
  std::vector<std::pair<nb::object, nb::object>> replaced;
  const nb::module_ torch = nb::module_::import_("torch");
  for (const EnvironmentQuery& query : environment_queries()) {
    const std::string name(query.name()), question(query.question);
    if (query.answer == QueryAnswer::truth || !nb::hasattr(torch, name.c_str())) continue;  // of a newer torch
    nb::object original = torch.attr(name.c_str());
    nb::object wrapper;
    if (query.answer == QueryAnswer::flag) {
      // Gradients are off while a capture runs.
      const nb::object outside = query.region == kGradients ? nb::object(nb::bool_(grad_was_enabled)) : nb::none();
      wrapper = c_function(&builtin_def, nb::make_tuple(original, question, outside));
    } else {
      wrapper = c_function(query.answer == QueryAnswer::dtype ? &dtype_def : &setting_def,
                           nb::make_tuple(original, question));
    }
    patches.set_item(torch.attr("__dict__"), nb::str(name.c_str()), wrapper);
    replaced.emplace_back(std::move(original), std::move(wrapper));
  }
  for_each_home([&](const EnvironmentQuery& query, nb::handle module) {
    const nb::object function = nb::getattr(module, std::string(query.name()).c_str(), nb::none());
    if (PyFunction_Check(function.ptr()))
      replace_code(patches, function, &function_def, nb::str(std::string(query.question).c_str()));
  });
  return replaced;
}

}  // namespace modulize
