#include "bridge/boundary/module_call.h"

#include <algorithm>
#include <string_view>

#include "bridge/boundary/call_outside.h"
#include "bridge/boundary/without_values.h"
#include "bridge/boundary/written_memory.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/blocks.h"
#include "bridge/record/calls.h"
#include "bridge/record/modules.h"
#include "bridge/record/stand_ins.h"
#include "bridge/record/training_flag.h"

namespace modulize {

namespace {

PyObject* module_function(PyObject* module) {
  // nn.Module._call_impl runs hooks and forward; torch >= 2.0 reaches it through _wrapped_call_impl, which also serves
  // `module.compile()`.
  static PyObject* const key = PyUnicode_InternFromString("_wrapped_call_impl");
  static PyObject* const older = PyUnicode_InternFromString("_call_impl");
  PyObject* bound = PyObject_GetAttr(module, key);
  if (bound) return bound;
  PyErr_Clear();
  bound = PyObject_GetAttr(module, older);
  if (!bound) nb::raise_python_error();
  return bound;
}

bool holds_anything(PyObject* module) {
  PyObject** slot = _PyObject_GetDictPtr(module);
  if (!slot || !*slot) return true;
  static PyObject* const names[] = {PyUnicode_InternFromString("_parameters"), PyUnicode_InternFromString("_buffers"),
                                    PyUnicode_InternFromString("_modules")};
  for (PyObject* name : names) {
    PyObject* held = PyDict_GetItem(*slot, name);
    if (!held || !PyDict_Check(held) || PyDict_GET_SIZE(held) > 0) return true;
  }
  return false;
}

// torch.func.functional_call puts other tensors in the place of a module's own for one call.
bool holds_other_tensors(const ModuleScan& scan, PyObject* module, const std::string& path) {
  PyObject** const slot = _PyObject_GetDictPtr(module);
  if (!slot || !*slot) return false;
  static PyObject* const kinds[] = {PyUnicode_InternFromString("_parameters"), PyUnicode_InternFromString("_buffers")};
  for (PyObject* kind : kinds) {
    PyObject* const tensors = PyDict_GetItem(*slot, kind);
    if (!tensors || !PyDict_Check(tensors)) continue;
    PyObject *name, *tensor;
    for (Py_ssize_t at = 0; PyDict_Next(tensors, &at, &name, &tensor);) {
      if (tensor == Py_None) continue;
      const auto known = scan.tensors.find(tensor);
      if (known == scan.tensors.end()) return true;
      const std::string own = path + "." + text_of(nb::handle(name));
      // A tied tensor stands under its first path, and none under this one.
      if (known->second != own &&
          std::any_of(scan.tensors.begin(), scan.tensors.end(), [&](const auto& other) { return other.second == own; }))
        return true;
    }
  }
  static PyObject* const modules_name = PyUnicode_InternFromString("_modules");
  PyObject* const children = PyDict_GetItem(*slot, modules_name);
  if (!children || !PyDict_Check(children)) return false;
  PyObject *name, *child;
  for (Py_ssize_t at = 0; PyDict_Next(children, &at, &name, &child);)
    if (const std::string* inner = scan.path_of(child); inner && holds_other_tensors(scan, child, *inner)) return true;
  return false;
}

/// Of a module that is not recorded here: an example to prepare it with.
void note_module_call(Recorder& recorder, PyObject* module, const std::string& path, PyObject* const* args,
                      Py_ssize_t nargs, PyObject* kwnames) {
  if (recorder.settings.excludes(module) || PyType_IsSubtype(Py_TYPE(module), TorchTypes::instance().script_module))
    return;
  const Pause quiet(recorder);
  note_inner_call(recorder.capture().inner_calls, path, args, nargs, kwnames);
}

/// A layer of torch is about to run in code that is kept whole: where its kernels are others while a function mode is
/// on the stack, the code around it may have none in the prepared model.
void note_layer(Recorder& recorder, PyObject* module) {
  const std::string* const region = recorder.attention().region;
  if (region && asks_for_function_modes(Py_TYPE(module))) recorder.capture().without_modes.insert(*region);
}

/// `callee`: what a message calls it. `path`: null for a module that is none of the model's.
PyObject* leaf_call(Recorder& recorder, CallKind kind, PyObject* module, const std::string* path, PyObject* args,
                    PyObject* kwargs, const std::string& callee) {
  OutsideCall call{kind, args, kwargs, callee};
  call.add = [&] {
    // Built inside forward: the object itself is called.
    if (!path) return add_call(recorder, module, CallName{}, args, kwargs);
    use_module(recorder, *path, module);
    CallName name;
    name.form = CallForm::method;
    name.name = *path;
    const NodeId node = add_call(recorder, module, name, args, kwargs);
    recorder.graph()[node].op = Opcode::call_module;
    return node;
  };
  call.run = [&]() -> PyObject* {
    before_layer(recorder, module);
    const nb::object bound = nb::steal(module_function(module));
    const auto run = [&](PyObject* a, PyObject* k) { return PyObject_Call(bound.ptr(), a, k); };
    StandIns* const stand_ins = recorder.settings.stand_ins;
    PyObject* const result =
        stand_ins && kind == CallKind::layer ? stand_ins->call_layer(module, args, kwargs, run) : run(args, kwargs);
    if (!result && kind == CallKind::layer) refuse_layer_without_values(recorder, module, args, kwargs);
    return result;
  };
  return call_outside(recorder, call);
}

/// What becomes of a module's call. `kept`: why it is called as a whole; null: it is a layer of torch, or traced
/// through.
struct Treatment {
  CallKind kind;
  bool is_leaf;
  const char* kept = nullptr;  // borrowed of the settings
};

Treatment treatment_of(Recorder& recorder, PyObject* module, const std::string* path) {
  const Settings& settings = recorder.settings;
  PyTypeObject* const type = Py_TYPE(module);
  Treatment out{CallKind::kept_module, false};
  out.is_leaf =
      is_library_leaf(type) && !settings.opened_classes.contains(reinterpret_cast<PyObject*>(type)) &&
      !(path && recorder.mode() == CaptureMode::running && holds_other_tensors(recorder.scan(), module, *path));
  if (settings.excludes(module)) {
    out.kept = "excluded";
    out.kind = CallKind::excluded_module;
  } else if (!out.is_leaf && has_hooks(module)) {
    out.kept = "it has forward hooks, which run only when the module itself is called";
  } else if (PyType_IsSubtype(type, TorchTypes::instance().script_module)) {
    out.kept = "compiled by torch.jit";
  } else if (const auto it = settings.kept_modules.find(module); it != settings.kept_modules.end()) {
    out.kept = it->second.c_str();
  } else if (out.is_leaf) {
    out.kind = has_hooks(module) ? CallKind::hooked_layer : CallKind::layer;
  }
  return out;
}

/// The call of a module that is an argument, or a part of one.
PyObject* given_call(Recorder& recorder, PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  GivenModules& given = recorder.given();
  given.require_own_tensors(module);
  const std::string text = given.text_of(module);
  note_kept(recorder, text, "given as an argument: a call of the prepared model runs the module that it is given");
  const auto arguments = as_args_and_kwargs(args, nargs, kwnames);
  PyObject* const kwargs = arguments.second.is_valid() ? arguments.second.ptr() : nullptr;
  OutsideCall call{CallKind::given_module, arguments.first.ptr(), kwargs, text};
  call.add = [&] {
    const nb::object self = nb::make_tuple(nb::handle(module));
    CallName name;
    name.form = CallForm::method;
    name.name = "__call__";
    return add_call(recorder, module, name, checked(PySequence_Concat(self.ptr(), arguments.first.ptr())).ptr(),
                    kwargs);
  };
  call.run = [&] { return watched_call(recorder, module, args, nargs, kwnames); };
  return call_outside(recorder, call);
}

}  // namespace

PyObject* module_call(Recorder& recorder, PyObject* module, PyObject* const* args, Py_ssize_t nargs,
                      PyObject* kwnames) {
  if (recorder.given().knows(module)) return given_call(recorder, module, args, nargs, kwnames);
  const std::string* path = recorder.scan().path_of(module);
  const Treatment treatment = treatment_of(recorder, module, path);
  const bool is_kept = treatment.kept != nullptr;
  if (is_kept && path) note_kept(recorder, *path, treatment.kept);
  // Prepared by itself, where something in it can be.
  if (is_kept && path && !treatment.is_leaf) note_module_call(recorder, module, *path, args, nargs, kwnames);
  // `nn.ReLU()(x)`: made inside forward, or held in a plain list. Without tensors it is what it computes.
  const bool is_anonymous = !is_kept && !path && !holds_anything(module);
  if (is_kept || (treatment.is_leaf && !is_anonymous)) {
    const auto [tuple, dict] = as_args_and_kwargs(args, nargs, kwnames);
    const std::string callee = !is_kept ? "" : path ? "'" + *path + "'" : "a module";
    return leaf_call(recorder, treatment.kind, module, path, tuple.ptr(), dict.is_valid() ? dict.ptr() : nullptr,
                     callee);
  }
  if (recorder.settings.on_traced_module) recorder.settings.on_traced_module(module);
  nb::object call = nb::steal(module_function(module));
  if (!path) return PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
  use_module(recorder, *path, module);
  settle_training_read(recorder);
  const ScopeId outer = recorder.places().enter_scope(*path);
  const NodeId begin =
      recorder.settings.keeps_blocks ? begin_block(recorder, *path, module, args, nargs, kwnames) : kNoNode;
  PyObject* result = PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
  settle_training_read(recorder);
  if (begin != kNoNode && result) end_block(recorder, begin, result);
  recorder.places().leave_scope(outer);
  return result;
}

PyObject* inner_call(Recorder& recorder, PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const std::string* path = recorder.scan().path_of(module);
  const bool is_leaf = is_library_leaf(Py_TYPE(module));
  if (path && !is_leaf) note_module_call(recorder, module, *path, args, nargs, kwnames);
  if (is_leaf) note_layer(recorder, module);
  before_layer(recorder, module);
  // What a module that is prepared calls itself is part of it.
  const Observe inside(recorder, nullptr, !is_leaf);
  nb::object call = nb::steal(module_function(module));
  return PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
}

PyObject* watched_call(Recorder& recorder, PyObject* module, PyObject* const* args, Py_ssize_t nargs,
                       PyObject* kwnames) {
  std::optional<Pause> off;
  if (is_library_leaf(Py_TYPE(module))) {
    note_layer(recorder, module);
    before_layer(recorder, module);
    off.emplace(recorder);
  }
  nb::object call = nb::steal(module_function(module));
  return PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
}

}  // namespace modulize
