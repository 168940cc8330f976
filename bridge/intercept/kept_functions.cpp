#include "bridge/intercept/kept_functions.h"

#include <vector>

#include "bridge/boundary/call_outside.h"
#include "bridge/boundary/opaque_call.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"

namespace modulize {

namespace {

// The body of a Python function that stays one node while a capture runs: `self` is (function, clone with the real
// code). `why(recorder, function)` is the reason for the report, null if there is nothing to report.
template <class Why>
PyObject* one_node_body(CallKind kind, PyObject* self, PyObject* const* call, Py_ssize_t nargs, Why&& why) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *function = PyTuple_GET_ITEM(self, 0), *kwargs = PyDict_GET_SIZE(call[1]) ? call[1] : nullptr;
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], kwargs);
  return guarded<PyObject*>(
      nullptr, [&] { return opaque_call(*recorder, kind, function, call[0], kwargs, why(*recorder, function)); });
}

PyObject* excluded_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return one_node_body(CallKind::excluded_function, self, call, nargs, [](Recorder&, PyObject*) { return "excluded"; });
}
PyMethodDef excluded_def = {"excluded", as_c_function(excluded_slot), METH_FASTCALL, nullptr};

PyObject* kept_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return one_node_body(CallKind::kept_function, self, call, nargs, [](Recorder& recorder, PyObject* function) {
    const auto it = recorder.settings.kept_functions.find(function);
    return it == recorder.settings.kept_functions.end() ? "kept" : it->second->why.c_str();
  });
}
PyMethodDef kept_def = {"kept", as_c_function(kept_slot), METH_FASTCALL, nullptr};

// Nothing to report: a registered function becomes a module.
PyObject* registered_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return one_node_body(CallKind::registered_operation, self, call, nargs,
                       [](Recorder&, PyObject*) { return static_cast<const char*>(nullptr); });
}
PyMethodDef registered_def = {"registered", as_c_function(registered_slot), METH_FASTCALL, nullptr};

}  // namespace

namespace {

// Weak references: who registers a function does not keep it, and all that its globals hold, alive.
std::vector<nb::object>& registered_functions() {
  static auto* functions = new std::vector<nb::object>();
  return *functions;
}

// The functions that still live.
std::vector<nb::object> living_registered_functions() {
  std::vector<nb::object> out;
  std::erase_if(registered_functions(), [&](const nb::object& reference) {
    nb::object function = reference();
    if (function.is_none()) return true;
    out.push_back(std::move(function));
    return false;
  });
  return out;
}

}  // namespace

void patch_excluded(Patches& patches, nb::handle functions) {
  if (functions.is_none()) return;
  for (nb::handle f : functions)
    if (PyFunction_Check(f.ptr())) replace_code(patches, f, &excluded_def);  // torch's builtins reach the function mode
}

void patch_kept(Patches& patches, nb::handle function) { replace_code(patches, function, &kept_def); }

void patch_one_node(Patches& patches, nb::handle function) { replace_code(patches, function, &registered_def); }

void patch_registered(Patches& patches, nb::handle excluded) {
  for (const nb::object& f : living_registered_functions()) {
    bool is_excluded = false;
    if (!excluded.is_none())
      for (nb::handle e : excluded) is_excluded |= e.is(f);
    if (!is_excluded) replace_code(patches, f, &registered_def);
  }
}

void add_registered_function(nb::handle function) {
  for (const nb::object& f : living_registered_functions())
    if (f.is(function)) return;
  nb::object reference = nb::steal(PyWeakref_NewRef(function.ptr(), nullptr));
  if (!reference.is_valid()) nb::raise_python_error();
  registered_functions().push_back(std::move(reference));
}

}  // namespace modulize
