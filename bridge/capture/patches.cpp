#include "bridge/capture/patches.h"

#include <map>

#include "bridge/capture/proxy.h"
#include "bridge/support/c_function.h"
#include "bridge/support/errors.h"

namespace modulize {

// --- undo list ---------------------------------------------------------------------------------------

void Patches::set_item(nb::handle dict, nb::handle key, nb::handle value) {
  PyObject* was = PyDict_GetItem(dict.ptr(), key.ptr());
  entries_.push_back(
      {nb::borrow(dict), nb::borrow(key), was ? nb::borrow(was) : nb::object(), nb::borrow(value), Kind::item});
  if (PyDict_SetItem(dict.ptr(), key.ptr(), value.ptr()) < 0) nb::raise_python_error();
}

void Patches::set_attribute(nb::handle object, const char* name, nb::handle value) {
  nb::object key = nb::steal(PyUnicode_InternFromString(name));
  nb::object was;
  nb::object held = nb::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())), key.ptr()));
  if (!held.is_valid()) PyErr_Clear();
  if (held.is_valid() && Py_TYPE(held.ptr())->tp_descr_set) {
    // A data descriptor of the type has it, as the code of a function.
    was = nb::steal(PyObject_GetAttr(object.ptr(), key.ptr()));
    if (!was.is_valid()) nb::raise_python_error();
  } else {
    // The object's own entry, not an inherited one: what was inherited is deleted again.
    nb::object dict = nb::steal(PyObject_GetAttrString(object.ptr(), "__dict__"));
    if (!dict.is_valid()) nb::raise_python_error();
    was = nb::steal(PyObject_GetItem(dict.ptr(), key.ptr()));
    if (!was.is_valid()) PyErr_Clear();
  }
  entries_.push_back({nb::borrow(object), key, std::move(was), nb::borrow(value), Kind::attribute});
  if (PyObject_SetAttr(object.ptr(), key.ptr(), value.ptr()) < 0) nb::raise_python_error();
}

void Patches::set_class_entry(PyTypeObject* type, const char* name, nb::handle value) {
  nb::object key = nb::steal(PyUnicode_InternFromString(name));
  PyObject* was = PyDict_GetItem(type->tp_dict, key.ptr());
  entries_.push_back({nb::borrow(reinterpret_cast<PyObject*>(type)), key, was ? nb::borrow(was) : nb::object(),
                      nb::borrow(value), Kind::class_entry});
  if (PyDict_SetItem(type->tp_dict, key.ptr(), value.ptr()) < 0) nb::raise_python_error();
  PyType_Modified(type);
}

void Patches::put(const Entry& entry, const nb::object& value) {
  auto* const type = entry.kind == Kind::class_entry ? reinterpret_cast<PyTypeObject*>(entry.target.ptr()) : nullptr;
  PyObject* const dict = type ? type->tp_dict : entry.target.ptr();
  int failed;
  if (entry.kind != Kind::attribute)
    failed =
        value.is_valid() ? PyDict_SetItem(dict, entry.key.ptr(), value.ptr()) : PyDict_DelItem(dict, entry.key.ptr());
  else
    failed = value.is_valid() ? PyObject_SetAttr(entry.target.ptr(), entry.key.ptr(), value.ptr())
                              : PyObject_DelAttr(entry.target.ptr(), entry.key.ptr());
  if (failed) PyErr_WriteUnraisable(entry.target.ptr());
  if (type) PyType_Modified(type);
}

void Patches::undo() {
  suspend();
  entries_.clear();
}

void Patches::suspend() {
  if (entries_.empty()) return;
  // May run while an exception (KeyboardInterrupt included) is on its way: keep it.
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) put(*it, it->original);
  PyErr_Restore(type, value, trace);
}

void Patches::resume() {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  for (const Entry& entry : entries_) put(entry, entry.replacement);
  PyErr_Restore(type, value, trace);
}

namespace {

nb::object c_function(PyMethodDef* def, nb::handle self) {
  nb::object made = nb::steal(PyCFunction_New(def, self.ptr()));
  if (!made.is_valid()) nb::raise_python_error();
  return made;
}

// --- nn.Module.__call__ -------------------------------------------------------------------------------

PyObject* original_module_call = nullptr;  // the Python function; immortal

PyObject* module_call_slot(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  if (Recorder* recorder = Recorder::recording())
    return guarded<PyObject*>(nullptr, [&] { return recorder->module_call(self, args, nargs, kwnames); });
  if (Recorder* recorder = Recorder::observing())
    return guarded<PyObject*>(nullptr, [&] { return recorder->inner_call(self, args, nargs, kwnames); });
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
  return guarded<PyObject*>(nullptr, [&] { return recorder->make_proxy(recorder->to_value(found.ptr()).as_node()); });
}

PyMethodDef module_getattr_def = {"__getattr__", as_c_function(module_getattr_slot), METH_FASTCALL | METH_KEYWORDS,
                                  nullptr};

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
  if (Recorder* recorder = Recorder::recording()) recorder->note_training_read(self);
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
      KeepRequest made("train() or eval() in forward" + recorder->place() +
                           " is not followed: say it in an overridden train() of the model, or exclude the function "
                           "(functions_to_exclude) or the module (modules_to_exclude) that does it",
                       "train() or eval() in forward", recorder->candidates());
      if (!recorder->request) recorder->request = made;
      throw made;
    });
  return value ? PyDict_SetItem(*slot, training_name(), value) : PyDict_DelItem(*slot, training_name());
}

PyGetSetDef training_def = {"training", training_get, training_set, nullptr, nullptr};

// --- torch.overrides.handle_torch_function ---------------------------------------------------------------

// torch's own goes through a Python context manager, several microseconds a call. `self` is the original.
PyObject* handle_torch_function_slot(PyObject* original, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  Recorder* recorder = Recorder::recording();
  if (!recorder || nargs < 2) return PyObject_Vectorcall(original, args, static_cast<std::size_t>(nargs), kwnames);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (!TorchTypes::instance().top_mode().is(recorder->function_mode))
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
    if (const auto it = recorder->opened_functions.find(args[0]); it != recorder->opened_functions.end())
      return PyObject_Call(it->second.ptr(), call_args.ptr(), call_kwargs.is_valid() ? call_kwargs.ptr() : nullptr);
    Recorder::Pause off(*recorder);
    return recorder->torch_call(args[0], call_args.ptr(), call_kwargs.is_valid() ? call_kwargs.ptr() : nullptr);
  });
}

PyMethodDef handle_torch_function_def = {"handle_torch_function", as_c_function(handle_torch_function_slot),
                                         METH_FASTCALL | METH_KEYWORDS, nullptr};

// --- functions that stay one node ---------------------------------------------------------------------------

bool any_proxy(PyObject* args, PyObject* kwargs, Recorder& recorder) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    if (recorder.has_origin(PyTuple_GET_ITEM(args, i))) return true;
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      if (recorder.has_origin(value)) return true;
  return false;
}

// `self` is the function: recorded as one node when an argument is a recorded value.
PyObject* one_node_slot(PyObject* function, PyObject* args, PyObject* kwargs) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(function, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    if (!any_proxy(args, kwargs, *recorder)) return PyObject_Call(function, args, kwargs);
    return recorder->opaque_call(function, args, kwargs,
                                 "under torch.fx.wrap: give example_inputs to trace through it");
  });
}
PyMethodDef one_node_def = {"one_node", as_c_function(one_node_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// `self` is math.* or a builtin of numbers: recorded when an argument itself (not something inside it) is recorded.
PyObject* number_function_slot(PyObject* function, PyObject* args, PyObject* kwargs) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(function, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    bool traced = false;
    NumberOrigin origin;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) {
      PyObject* a = PyTuple_GET_ITEM(args, i);
      traced |= is_proxy(a) || (traced_origin(a, &origin) && origin.capture == recorder->id()) ||
                TorchTypes::instance().is_tensor(a);
    }
    if (!traced) return PyObject_Call(function, args, kwargs);
    return recorder->opaque_call(function, args, kwargs, nullptr);
  });
}
PyMethodDef number_function_def = {"number_function", as_c_function(number_function_slot), METH_VARARGS | METH_KEYWORDS,
                                   nullptr};

// range() asks for the number itself.
PyObject* range_slot(PyObject* function, PyObject* args, PyObject*) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    if (!note_number_leak("a bound of range()", PyTuple_GET_ITEM(args, i))) return nullptr;
  return PyObject_Call(function, args, nullptr);
}
PyMethodDef range_def = {"range", as_c_function(range_slot), METH_VARARGS, nullptr};

// The dtype is asked for when the prepared model runs. `self` is torch.get_default_dtype.
PyObject* default_dtype_slot(PyObject* original, PyObject*) {
  nb::object dtype = nb::steal(PyObject_CallNoArgs(original));
  Recorder* recorder = Recorder::recording();
  if (!dtype.is_valid() || !recorder) return dtype.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const NodeId node = recorder->add_function("torch.get_default_dtype", {}, ValueType::other);
    return recorder->wrap_result(dtype.ptr(), node, false);
  });
}
PyMethodDef default_dtype_def = {"get_default_dtype", as_c_function(default_dtype_slot), METH_NOARGS, nullptr};

// A method under torch.fx.wrap: `self` is (original, name); the first argument is the instance.
PyObject* wrapped_method_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    if (!any_proxy(args, kwargs, *recorder)) return PyObject_Call(original, args, kwargs);
    CallName name{CallForm::method, nb::cast<std::string>(nb::handle(PyTuple_GET_ITEM(self, 1))), false};
    return recorder->make_proxy(recorder->add_call(original, name, args, kwargs));
  });
}
PyMethodDef wrapped_method_def = {"wrapped_method", as_c_function(wrapped_method_slot), METH_VARARGS | METH_KEYWORDS,
                                  nullptr};

// The body of a Python function that stays one node while a capture runs: `self` is (function, clone with the real
// code). `why(recorder, function)` is the reason for the report, null if there is nothing to report.
template <class Why>
PyObject* one_node_body(PyObject* self, PyObject* const* call, Py_ssize_t nargs, bool observes, Why&& why) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *function = PyTuple_GET_ITEM(self, 0), *kwargs = PyDict_GET_SIZE(call[1]) ? call[1] : nullptr;
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], kwargs);
  return guarded<PyObject*>(
      nullptr, [&] { return recorder->opaque_call(function, call[0], kwargs, why(*recorder, function), observes); });
}

PyObject* excluded_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return one_node_body(self, call, nargs, false, [](Recorder&, PyObject*) { return "excluded"; });
}
PyMethodDef excluded_def = {"excluded", as_c_function(excluded_slot), METH_FASTCALL, nullptr};

PyObject* kept_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return one_node_body(self, call, nargs, true, [](Recorder& recorder, PyObject* function) {
    const auto it = recorder.kept_functions.find(function);
    return it == recorder.kept_functions.end() ? "kept" : it->second->why.c_str();
  });
}
PyMethodDef kept_def = {"kept", as_c_function(kept_slot), METH_FASTCALL, nullptr};

// Nothing to report: a registered function becomes a module.
PyObject* registered_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return one_node_body(self, call, nargs, false,
                       [](Recorder&, PyObject*) { return static_cast<const char*>(nullptr); });
}
PyMethodDef registered_def = {"registered", as_c_function(registered_slot), METH_FASTCALL, nullptr};

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
    if (recorder) return recorder->torch_call(args[0], call_args.ptr(), kwargs);
    if (Recorder* running = Recorder::current()) running->before_unrecorded_call(args[0], call_args.ptr(), kwargs);
    if (Recorder* observing = Recorder::observing()) observing->note_site(args[0], call_args.ptr(), kwargs);
    return PyObject_Call(args[0], call_args.ptr(), kwargs);
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
  recorder.function_mode = function_mode();
  nb::object done = nb::steal(PyObject_CallOneArg(TorchTypes::instance().push_mode, recorder.function_mode));
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

void patch_torch(Patches& patches, CaptureMode mode) {
  nb::object torch = nb::module_::import_("torch");
  patches.set_attribute(torch, "get_default_dtype",
                        c_function(&default_dtype_def, nb::object(torch.attr("get_default_dtype"))));
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
  nb::object training = nb::steal(PyDescr_NewGetSet(module_type, &training_def));
  patches.set_class_entry(module_type, "training", training);
  nb::str name("handle_torch_function");
  for (const char* module : {"torch.nn.functional", "torch.functional", "torch._tensor"}) {
    nb::object globals = nb::module_::import_(module).attr("__dict__");
    PyObject* original = PyDict_GetItem(globals.ptr(), name.ptr());
    if (original) patches.set_item(globals, name, c_function(&handle_torch_function_def, nb::handle(original)));
  }
}

void patch_python(Patches& patches, Recorder& recorder, const std::vector<std::pair<nb::object, nb::object>>& others) {
  nb::dict math = nb::borrow<nb::dict>(nb::module_::import_("math").attr("__dict__"));
  auto* replaced = new std::unordered_map<PyObject*, nb::object>();
  auto shared = std::shared_ptr<std::unordered_map<PyObject*, nb::object>>(replaced);
  std::vector<std::pair<nb::object, nb::object>> wrappers;
  for (auto [key, value] : math)
    if (PyCFunction_Check(value.ptr())) wrappers.emplace_back(nb::borrow(key), nb::borrow(value));
  for (auto& [key, value] : wrappers) {
    nb::object wrapper = c_function(&number_function_def, value);
    patches.set_item(math, key, wrapper);
    replaced->emplace(value.ptr(), wrapper);
  }
  if (recorder.mode() == CaptureMode::running) {
    nb::object builtins = nb::module_::import_("builtins").attr("__dict__");
    {
      nb::str key("range");
      nb::object original = nb::borrow(PyDict_GetItem(builtins.ptr(), key.ptr()));
      // A class, as `isinstance(n, range)` and `int | range` want it; what it calls is ours.
      static PyObject* const replacement =
          nb::object(
              nb::module_::import_("modulize._engine").attr("stand_in")(original, c_function(&range_def, original)))
              .release()
              .ptr();
      patches.set_item(builtins, key, nb::handle(replacement));
    }
    // einops looks sizes up in a cache, which would keep them as plain numbers: ask the function behind it.
    nb::dict loaded = nb::borrow<nb::dict>(nb::module_::import_("sys").attr("modules"));
    if (PyObject* einops = PyDict_GetItemString(loaded.ptr(), "einops.einops"))
      if (nb::hasattr(einops, "_reconstruct_from_shape") && nb::hasattr(einops, "_reconstruct_from_shape_uncached"))
        patches.set_attribute(einops, "_reconstruct_from_shape",
                              nb::handle(einops).attr("_reconstruct_from_shape_uncached"));
    for (const char* name : {"len", "max", "min"}) {
      nb::str key(name);
      nb::object original = nb::borrow(PyDict_GetItem(builtins.ptr(), key.ptr()));
      nb::object wrapper = c_function(&number_function_def, original);
      patches.set_item(builtins, key, wrapper);
      replaced->emplace(original.ptr(), wrapper);
    }
  }
  for (const auto& [original, wrapper] : others) replaced->emplace(original.ptr(), wrapper);
  recorder.on_globals = [&patches, shared](PyObject* globals) {
    std::vector<std::pair<nb::object, nb::object>> found;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(globals, &at, &key, &value);)
      if (PyCFunction_Check(value) || PyType_Check(value))
        if (const auto it = shared->find(value); it != shared->end()) found.emplace_back(nb::borrow(key), it->second);
    for (auto& [name, wrapper] : found) patches.set_item(globals, name, wrapper);
  };
}

namespace {

// A symbol stands for a tensor; where it does not, the call of the prepared model raises.
PyObject* type_slot(PyObject* type, PyObject* args, PyObject*) {
  PyObject* object = PyTuple_GET_SIZE(args) == 1 ? PyTuple_GET_ITEM(args, 0) : nullptr;
  Recorder* recorder = Recorder::recording();
  if (!object || !is_proxy(object) || !recorder) return PyObject_Call(type, args, nullptr);
  return guarded<PyObject*>(nullptr, [&] {
    nb::object tensor = nb::borrow(reinterpret_cast<PyObject*>(TorchTypes::instance().tensor));
    const NodeId asked = recorder->add_function(
        "builtins.isinstance", {recorder->to_value(object), recorder->to_value(tensor.ptr())}, ValueType::number);
    const std::string line = recorder->here();
    recorder->add_check(asked, Value::boolean(true),
                        "whether a value is a tensor, as type() is asked" + (line.empty() ? "" : " at " + line));
    return tensor.release().ptr();
  });
}
PyMethodDef type_def = {"type", as_c_function(type_slot), METH_VARARGS, nullptr};

}  // namespace

namespace {

PyObject* import_slot(PyObject* self, PyObject* const* call, Py_ssize_t) {
  auto* const patches = static_cast<Patches*>(PyCapsule_GetPointer(PyTuple_GET_ITEM(self, 2), nullptr));
  return guarded<PyObject*>(nullptr, [&] {
    std::optional<Recorder::Pause> quiet;
    if (Recorder* recorder = Recorder::current()) quiet.emplace(*recorder);
    patches->suspend();
    PyObject* const result = PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], call[1]);
    patches->resume();
    return result;
  });
}
PyMethodDef import_def = {"exec_module", as_c_function(import_slot), METH_FASTCALL, nullptr};

}  // namespace

void patch_imports(Patches& patches) {
  const nb::object loader = nb::module_::import_("importlib.machinery").attr("SourceFileLoader");
  replace_code(patches, loader.attr("exec_module"), &import_def, nb::capsule(&patches));
}

void patch_type(Patches& patches, const std::vector<PyObject*>& globals) {
  nb::str name("type");
  for (PyObject* variables : globals) {
    if (PyDict_GetItem(variables, name.ptr())) continue;  // the user's own
    static PyObject* const replacement = [] {
      nb::handle type(reinterpret_cast<PyObject*>(&PyType_Type));
      return nb::object(nb::module_::import_("modulize._engine").attr("stand_in")(type, c_function(&type_def, type)))
          .release()
          .ptr();
    }();
    patches.set_item(nb::handle(variables), name, nb::handle(replacement));
  }
}

void patch_wrapped(Patches& patches) {
  const nb::handle tracing = TorchTypes::instance().fx_tracing;
  nb::object builtins = nb::module_::import_("builtins").attr("__dict__");
  const auto patch = [&](nb::handle frame, nb::handle name) {
    PyObject* original = PyDict_GetItem(frame.ptr(), name.ptr());
    if (!original) original = PyDict_GetItem(builtins.ptr(), name.ptr());
    if (!original) return;  // the module that asked for it never defined it
    patches.set_item(frame, name, c_function(&one_node_def, nb::handle(original)));
  };
  nb::object functions = tracing.attr("_wrapped_fns_to_patch");
  if (PyDict_Check(functions.ptr())) {
    nb::list items = nb::steal<nb::list>(PyDict_Items(functions.ptr()));  // {(id, name): globals}
    for (nb::handle item : items) patch(item[1], item[0][1]);
  } else {
    for (nb::handle item : functions) patch(item[0], item[1]);  // [(globals, name)] before torch 1.12
  }
  for (nb::handle item : tracing.attr("_wrapped_methods_to_patch")) {
    nb::object cls = item[0], name = item[1];
    nb::object original = nb::steal(PyObject_GetAttr(cls.ptr(), name.ptr()));
    if (!original.is_valid()) nb::raise_python_error();
    nb::object function = c_function(&wrapped_method_def, nb::make_tuple(original, name));
    nb::object method = nb::steal(PyInstanceMethod_New(function.ptr()));
    patches.set_attribute(cls, nb::cast<std::string>(name).c_str(), method);
  }
}

void replace_code(Patches& patches, nb::handle f, PyMethodDef* handler_def, nb::object extra) {
  // What replaces the code of torch's own functions is made once a process; they live as long.
  struct Made {
    PyObject* real;
    PyObject* code;
  };
  static auto* const made = new std::map<std::pair<PyObject*, PyMethodDef*>, Made>();
  const auto known = made->find({f.ptr(), handler_def});
  if (known != made->end() && known->second.real == PyFunction_GET_CODE(f.ptr())) {
    patches.set_attribute(f, "__code__", nb::handle(known->second.code));
    return;
  }
  nb::object function_type = nb::module_::import_("types").attr("FunctionType");
  nb::object real = f.attr("__code__");
  nb::object clone =
      function_type(real, f.attr("__globals__"), f.attr("__name__"), f.attr("__defaults__"), f.attr("__closure__"));
  clone.attr("__kwdefaults__") = f.attr("__kwdefaults__");
  nb::object handler = c_function(handler_def, nb::make_tuple(nb::borrow(f), clone, extra));
  // A function that hands its arguments to a constant, which is then our handler; with the free variables of the
  // real code, as Python insists.
  static PyObject* const stub_code = [] {
    nb::dict space;
    space["__builtins__"] = nb::module_::import_("builtins");
    // A file name that is not the user's.
    nb::object code = nb::steal(
        Py_CompileString("def call(*args, **kwargs):\n    handler = 'handler'\n    return handler(args, kwargs)\n",
                         "<frozen modulize>", Py_file_input));
    if (!code.is_valid()) nb::raise_python_error();
    nb::object done = nb::steal(PyEval_EvalCode(code.ptr(), space.ptr(), space.ptr()));
    if (!done.is_valid()) nb::raise_python_error();
    return nb::object(space["call"].attr("__code__")).release().ptr();
  }();
  nb::handle stub(stub_code);
  nb::list constants;
  for (nb::handle c : stub.attr("co_consts"))
    constants.append(PyUnicode_Check(c.ptr()) && nb::cast<std::string>(c) == "handler" ? handler : nb::borrow(c));
  nb::object code = stub.attr("replace")(nb::arg("co_consts") = nb::tuple(constants),
                                         nb::arg("co_freevars") = real.attr("co_freevars"));
  if (known == made->end() && text_of(f.attr("__module__")).starts_with("torch.")) {
    f.inc_ref();
    made->emplace(std::pair(f.ptr(), handler_def),
                  Made{nb::borrow(real).release().ptr(), nb::borrow(code).release().ptr()});
  }
  patches.set_attribute(f, "__code__", code);
}

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
