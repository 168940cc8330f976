// Recorder::module_call: leaves become call_module nodes, other modules are traced through in a scope of their own.
#include <algorithm>
#include <string_view>

#include "bridge/boundary/call_outside.h"
#include "bridge/boundary/written_memory.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"

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

bool is_training(PyObject* module) {
  // Past the descriptor that notes the reads of traced code.
  PyObject** slot = _PyObject_GetDictPtr(module);
  PyObject* flag = slot && *slot ? PyDict_GetItemString(*slot, "training") : nullptr;
  return flag == Py_True;
}

nb::object tuple_of(PyObject* const* args, Py_ssize_t count) {
  nb::object tuple = checked(PyTuple_New(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    Py_INCREF(args[i]);
    PyTuple_SET_ITEM(tuple.ptr(), i, args[i]);
  }
  return tuple;
}

/// A dict; invalid for none.
nb::object keywords_of(PyObject* const* values, PyObject* names) {
  if (!names || !PyTuple_GET_SIZE(names)) return {};
  nb::object dict = checked(PyDict_New());
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i)
    if (PyDict_SetItem(dict.ptr(), PyTuple_GET_ITEM(names, i), values[i]) < 0) nb::raise_python_error();
  return dict;
}

}  // namespace

void Recorder::keep(const std::string& what, const char* reason) {
  for (const Kept& k : capture_.kept)
    if (k.what == what && k.scope == scope_path()) return;
  capture_.kept.push_back({what, scope_path(), reason, here()});
}

void Recorder::use_module(const std::string& path, PyObject* module) {
  if (graph().modules.find(path)) return;
  ModuleSpec spec;
  spec.path = path;
  spec.kind = ModuleKind::existing;
  spec.type = class_name(Py_TYPE(module));
  spec.training = is_training(module);
  graph().modules.add(std::move(spec));
}

void Recorder::meet_globals_of(PyObject* module) {
  if (!on_globals) return;
  PyTypeObject* type = Py_TYPE(module);
  if (!forward_met_.try_emplace(type, true).second) return;
  // The globals of every class on the way up: a base's forward may call one of the derived class and the reverse.
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); ++i) {
    auto* cls = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(type->tp_mro, i));
    if (cls == TorchTypes::instance().module) break;
    PyObject *key, *value;
    if (!cls->tp_dict) continue;
    for (Py_ssize_t at = 0; PyDict_Next(cls->tp_dict, &at, &key, &value);) {
      if (!PyFunction_Check(value)) continue;
      PyObject* globals = PyFunction_GetGlobals(value);
      if (met_globals_.insert(globals).second) on_globals(globals);
      break;  // the functions of one class body share their module
    }
  }
}

// torch.func.functional_call puts other tensors in the place of a module's own for one call.
bool Recorder::holds_other_tensors(PyObject* module, const std::string& path) const {
  PyObject** const slot = _PyObject_GetDictPtr(module);
  if (!slot || !*slot) return false;
  static PyObject* const kinds[] = {PyUnicode_InternFromString("_parameters"), PyUnicode_InternFromString("_buffers")};
  for (PyObject* kind : kinds) {
    PyObject* const tensors = PyDict_GetItem(*slot, kind);
    if (!tensors || !PyDict_Check(tensors)) continue;
    PyObject *name, *tensor;
    for (Py_ssize_t at = 0; PyDict_Next(tensors, &at, &name, &tensor);) {
      if (tensor == Py_None) continue;
      const auto known = scan_.tensors.find(tensor);
      if (known == scan_.tensors.end()) return true;
      const std::string own = path + "." + text_of(nb::handle(name));
      // A tied tensor stands under its first path, and none under this one.
      if (known->second != own && std::any_of(scan_.tensors.begin(), scan_.tensors.end(),
                                              [&](const auto& other) { return other.second == own; }))
        return true;
    }
  }
  static PyObject* const modules_name = PyUnicode_InternFromString("_modules");
  PyObject* const children = PyDict_GetItem(*slot, modules_name);
  if (!children || !PyDict_Check(children)) return false;
  PyObject *name, *child;
  for (Py_ssize_t at = 0; PyDict_Next(children, &at, &name, &child);)
    if (const std::string* inner = scan_.path_of(child); inner && holds_other_tensors(child, *inner)) return true;
  return false;
}

PyObject* Recorder::module_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  if (given.knows(module)) return given_call(module, args, nargs, kwnames);
  const std::string* path = scan_.path_of(module);
  PyTypeObject* type = Py_TYPE(module);
  const bool is_leaf = is_library_leaf(type) && !opened_classes.contains(reinterpret_cast<PyObject*>(type)) &&
                       !(path && mode_ == CaptureMode::running && holds_other_tensors(module, *path));
  const char* kept = nullptr;
  CallKind kind = is_leaf && has_hooks(module) ? CallKind::hooked_layer
                  : is_leaf                    ? CallKind::layer
                                               : CallKind::kept_module;
  if (is_excluded(module))
    kept = "excluded", kind = CallKind::excluded_module;
  else if (!is_leaf && has_hooks(module))
    kept = "it has forward hooks, which run only when the module itself is called";
  else if (PyType_IsSubtype(type, TorchTypes::instance().script_module))
    kept = "compiled by torch.jit";
  else if (const auto it = kept_modules.find(module); it != kept_modules.end())
    kept = it->second.c_str();
  if (kept && path) keep(*path, kept);
  // Prepared by itself, where something in it can be.
  if (kept && path && !is_leaf) note_module_call(module, *path, args, nargs, kwnames);
  // `nn.ReLU()(x)`: made inside forward, or held in a plain list. Without tensors it is what it computes.
  const bool is_anonymous = !kept && !path && !holds_anything(module);
  if (kept || (is_leaf && !is_anonymous)) {
    const nb::object tuple = tuple_of(args, nargs), dict = keywords_of(args + nargs, kwnames);
    PyObject* const kwargs = dict.is_valid() ? dict.ptr() : nullptr;
    const std::string callee = !kept ? "" : path ? "'" + *path + "'" : "a module";
    if (kept && kind != CallKind::excluded_module) kind = CallKind::kept_module;
    return leaf_call(kind, module, path, tuple.ptr(), kwargs, callee);
  }
  meet_globals_of(module);
  nb::object call = nb::steal(module_function(module));
  if (!path) return PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
  use_module(*path, module);
  settle_training_read();
  const ScopeId outer = scope_;
  scope_ = graph().add_scope({*path, scope_calls_[*path]++, outer});
  const NodeId begin = keep_blocks ? begin_block(*path, module, args, nargs, kwnames) : kNoNode;
  PyObject* result = PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
  settle_training_read();
  if (begin != kNoNode && result) end_block(begin, result);
  scope_ = outer;
  return result;
}

PyObject* Recorder::given_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  given.require_own_tensors(module);
  const std::string text = given.text_of(module);
  keep(text, "given as an argument: a call of the prepared model runs the module that it is given");
  const nb::object tuple = tuple_of(args, nargs), dict = keywords_of(args + nargs, kwnames);
  PyObject* const kwargs = dict.is_valid() ? dict.ptr() : nullptr;
  OutsideCall call{CallKind::given_module, tuple.ptr(), kwargs, text};
  call.add = [&] {
    const nb::object self = nb::make_tuple(nb::handle(module));
    CallName name;
    name.form = CallForm::method;
    name.name = "__call__";
    return add_call(module, name, checked(PySequence_Concat(self.ptr(), tuple.ptr())).ptr(), kwargs);
  };
  call.run = [&] { return watched_call(module, args, nargs, kwnames); };
  return call_outside(*this, call);
}

bool Recorder::is_excluded(PyObject* module) const {
  return excluded_modules.contains(module) || excluded_classes.contains(reinterpret_cast<PyObject*>(Py_TYPE(module)));
}

void Recorder::note_module_call(PyObject* module, const std::string& path, PyObject* const* args, Py_ssize_t nargs,
                                PyObject* kwnames) {
  if (is_excluded(module) || PyType_IsSubtype(Py_TYPE(module), TorchTypes::instance().script_module)) return;
  const Pause quiet(*this);
  note_inner_call(capture_.inner_calls, path, args, nargs, kwnames);
}

PyObject* Recorder::inner_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const std::string* path = scan_.path_of(module);
  if (path && !is_library_leaf(Py_TYPE(module))) note_module_call(module, *path, args, nargs, kwnames);
  if (is_library_leaf(Py_TYPE(module))) note_layer(module);
  before_layer(*this, module);
  // What a module that is prepared calls itself is part of it.
  const Observe inside(*this, nullptr, !is_library_leaf(Py_TYPE(module)));
  nb::object call = nb::steal(module_function(module));
  return PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
}

void Recorder::note_layer(PyObject* module) {
  if (region_ && asks_for_function_modes(Py_TYPE(module))) capture_.without_modes.insert(*region_);
}

PyObject* Recorder::watched_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  std::optional<Pause> off;
  if (is_library_leaf(Py_TYPE(module))) {
    note_layer(module);
    before_layer(*this, module);
    off.emplace(*this);
  }
  nb::object call = nb::steal(module_function(module));
  return PyObject_Vectorcall(call.ptr(), args, static_cast<std::size_t>(nargs), kwnames);
}

PyObject* Recorder::leaf_call(CallKind kind, PyObject* module, const std::string* path, PyObject* args,
                              PyObject* kwargs, const std::string& callee) {
  OutsideCall call{kind, args, kwargs, callee};
  call.add = [&] {
    if (!path) return add_call(module, CallName{}, args, kwargs);  // built inside forward: the object itself is called
    use_module(*path, module);
    CallName name;
    name.form = CallForm::method;
    name.name = *path;
    const NodeId node = add_call(module, name, args, kwargs);
    graph()[node].op = Opcode::call_module;
    return node;
  };
  call.run = [&]() -> PyObject* {
    before_layer(*this, module);
    const nb::object bound = nb::steal(module_function(module));
    return PyObject_Call(bound.ptr(), args, kwargs);
  };
  return call_outside(*this, call);
}

}  // namespace modulize
