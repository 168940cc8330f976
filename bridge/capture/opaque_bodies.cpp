#include "bridge/capture/opaque_bodies.h"

#include <functional>
#include <unordered_set>

#include "bridge/capture/contexts.h"
#include "bridge/capture/proxy.h"
#include "bridge/support/c_function.h"
#include "bridge/support/errors.h"
#include "bridge/support/weak_table.h"
#include "ir/runtime_calls.h"

namespace modulize {

namespace {

PyObject* or_null(PyObject* dict) { return dict && PyDict_GET_SIZE(dict) ? dict : nullptr; }

// --- functions as arguments -----------------------------------------------------------------------------------

// Closures in closures are looked into this deep.
constexpr int kClosureDepth = 4;

Value function_value(Recorder& recorder, PyObject* function, int depth = 0);

bool holds_recorded(Recorder& recorder, PyObject* object) {
  return TorchTypes::instance().is_tensor(object) || recorder.has_origin(object);
}

// The value of a function; one that holds recorded values in its closure is made anew around them.
Value function_value(Recorder& recorder, PyObject* function, int depth) {
  Value as_it_is = recorder.to_value(function);
  if (!PyFunction_Check(function) || as_it_is.is(ValueKind::name) || depth > kClosureDepth) return as_it_is;
  PyObject* cells = PyFunction_GetClosure(function);
  ValueDict held;
  for (Py_ssize_t i = 0; cells && i < PyTuple_GET_SIZE(cells); ++i) {
    nb::object content = nb::steal(PyCell_Get(PyTuple_GET_ITEM(cells, i)));
    if (!content.is_valid() || content.is(nb::handle(function))) continue;  // an empty one, or the function itself
    if (holds_recorded(recorder, content.ptr())) {
      held.emplace_back(Value::integer(i), recorder.to_value(content.ptr()));
    } else if (PyFunction_Check(content.ptr())) {
      Value inner = function_value(recorder, content.ptr(), depth + 1);
      if (inner.has_node()) held.emplace_back(Value::integer(i), std::move(inner));
    }
  }
  PyObject* defaults = PyFunction_GetDefaults(function);
  if (defaults && recorder.has_origin(defaults))
    throw Error(ErrorCode::CaptureError,
                "a function under a transform of torch.func has a recorded tensor as a default" + recorder.place() +
                    ": give it as an argument, or exclude the module");
  if (held.empty()) return as_it_is;
  // Without what it holds here, so that two captures have the same function.
  nb::object empty_cells = checked(PySequence_List(cells));
  for (const auto& [position, value] : held)
    PyList_SetItem(empty_cells.ptr(), position.as_integer(), PyCell_New(Py_None));
  nb::object types = nb::module_::import_("types");
  nb::handle f(function);
  nb::object empty = types.attr("FunctionType")(f.attr("__code__"), f.attr("__globals__"), f.attr("__name__"),
                                                f.attr("__defaults__"), nb::tuple(empty_cells));
  empty.attr("__kwdefaults__") = nb::object(f.attr("__kwdefaults__"));
  return Value::node(recorder.add_function(std::string(kClosure),
                                           {recorder.capture().objects.value(empty), Value::dict(std::move(held))},
                                           ValueType::other));
}

Value argument_value(Recorder& recorder, PyObject* object) {
  if (PyFunction_Check(object)) return function_value(recorder, object);
  if (std::string_view(Py_TYPE(object)->tp_name) == "functools.partial") {
    nb::handle partial(object);
    Node node;
    node.target = "functools.partial";
    node.type = ValueType::other;
    node.args.push_back(function_value(recorder, nb::object(partial.attr("func")).ptr()));
    nb::object args = partial.attr("args"), keywords = partial.attr("keywords");
    for (nb::handle item : args) node.args.push_back(recorder.to_value(item.ptr()));
    for (auto [key, value] : nb::borrow<nb::dict>(keywords))
      node.kwargs.emplace_back(nb::cast<std::string>(key), recorder.to_value(value.ptr()));
    bool recorded = false;
    for (const Value& v : node.args) recorded |= v.has_node();
    for (const auto& [key, v] : node.kwargs) recorded |= v.has_node();
    if (recorded) return Value::node(recorder.add_node(std::move(node)));
  }
  return recorder.to_value(object);
}

// --- one node ----------------------------------------------------------------------------------------------------

void add_arguments(Recorder& recorder, PyObject* args, Py_ssize_t begin, PyObject* kwargs, Node& node) {
  for (Py_ssize_t i = begin; i < PyTuple_GET_SIZE(args); ++i)
    node.args.push_back(argument_value(recorder, PyTuple_GET_ITEM(args, i)));
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      node.kwargs.emplace_back(nb::cast<std::string>(nb::handle(key)), argument_value(recorder, value));
}

// Adds `node` and gives what `run` returns, which is not recorded, as its result. `first`: the first node made for it.
PyObject* record_whole(Recorder& recorder, NodeId first, Node node, const std::function<PyObject*()>& run,
                       const std::function<bool()>& in_place = {}) {
  try {
    const NodeId id = recorder.add_node(std::move(node));
    if (recorder.mode() == CaptureMode::symbolic) return recorder.make_proxy(id);
    nb::object result;
    {
      Recorder::Pause quiet(recorder);
      result = nb::steal(run());
    }
    if (!result.is_valid()) {
      recorder.rollback(first);
      return nullptr;
    }
    if (PyBool_Check(result.ptr())) {
      recorder.graph()[id].type = ValueType::number;
      return PyBool_FromLong(recorder.decide(id, result.ptr() == Py_True));
    }
    Recorder::Pause quiet(recorder);
    return recorder.wrap_result(result.ptr(), id, in_place && in_place());
  } catch (...) {
    recorder.rollback(first);
    throw;
  }
}

NodeId next_node(Recorder& recorder) { return static_cast<NodeId>(recorder.graph().id_limit()); }

// --- torch.autograd.Function ---------------------------------------------------------------------------------------

// `apply` is a builtin that may have been bound long before the capture; what it calls is not. `self` is (forward,
// clone with the real code, the class if forward has no context argument, else None).
PyObject* function_forward_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *clone = PyTuple_GET_ITEM(self, 1), *args = call[0], *kwargs = or_null(call[1]);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(clone, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    nb::object cls = nb::borrow(PyTuple_GET_ITEM(self, 2)), context;
    if (cls.is_none()) {
      if (PyTuple_GET_SIZE(args) > 0) {
        context = nb::borrow(PyTuple_GET_ITEM(args, 0));
        if (nb::hasattr(context, "_forward_cls")) cls = context.attr("_forward_cls");
      }
      if (cls.is_none()) return PyObject_Call(clone, args, kwargs);  // not through apply: a function like any other
    }
    const NodeId first = next_node(*recorder);
    Node node;
    node.op = Opcode::call_function;
    const CallName name = FunctionNames::instance().find(cls.ptr());
    if (name.form == CallForm::function)
      node.target = name.name + ".apply";
    else
      node.callee = recorder->capture().objects.value(nb::object(cls.attr("apply")));
    recorder->note_kept(name.form == CallForm::function ? name.name : text_of(cls.attr("__qualname__")),
                        "a torch.autograd.Function: its backward is its own");
    add_arguments(*recorder, args, context.is_valid() ? 1 : 0, kwargs, node);
    return record_whole(
        *recorder, first, std::move(node), [&] { return PyObject_Call(clone, args, kwargs); },
        [&] { return context.is_valid() && !nb::object(nb::getattr(context, "dirty_tensors", nb::none())).is_none(); });
  });
}
PyMethodDef function_forward_def = {"forward", as_c_function(function_forward_slot), METH_FASTCALL, nullptr};

// `setup_context` belongs to the call. `self` is (function, clone).
PyObject* unrecorded_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], or_null(call[1]));
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (recorder->mode() == CaptureMode::symbolic) return nb::none().release().ptr();
    Recorder::Pause quiet(*recorder);
    return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], or_null(call[1]));
  });
}
PyMethodDef unrecorded_def = {"unrecorded", as_c_function(unrecorded_slot), METH_FASTCALL, nullptr};

// Torch's own are what its functions are made of, but for those that talk between processes and devices.
bool is_recorded_through(nb::handle cls) {
  static auto* const known = new WeakTable<bool>();
  if (const bool* recorded = known->find(cls.ptr())) return *recorded;
  const std::string module = text_of(cls.attr("__module__"));
  return known->insert(cls.ptr(), module.starts_with("torch.") && !module.starts_with("torch.distributed.") &&
                                      !module.starts_with("torch.nn.parallel."));
}

void patch_autograd_functions(Patches& patches) {
  nb::object home = nb::module_::import_("torch.autograd.function");
  nb::object base = home.attr("Function");
  nb::object no_setup = nb::getattr(base, "setup_context", nb::none());
  std::unordered_set<PyObject*> done;
  std::vector<nb::object> pending{base};
  static PyObject* const subclasses = PyUnicode_InternFromString("__subclasses__");
  while (!pending.empty()) {  // over two hundred in a process with torch
    nb::object cls = std::move(pending.back());
    pending.pop_back();
    if (reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_subclasses) {  // null for a class that never had any: most
      nb::object below = checked(PyObject_CallMethodNoArgs(cls.ptr(), subclasses));
      for (nb::handle sub : below) pending.push_back(nb::borrow(sub));
    }
    if (cls.is(base) || is_recorded_through(cls)) continue;
    nb::object own = cls.attr("__dict__");
    const bool sets_up = !no_setup.is_none() && !nb::object(cls.attr("setup_context")).is(no_setup);
    for (const char* name : {"forward", "setup_context"}) {
      if (PyMapping_HasKeyString(own.ptr(), name) != 1) continue;
      nb::object function = cls.attr(name);
      if (!PyFunction_Check(function.ptr()) || !done.insert(function.ptr()).second) continue;
      if (name[0] == 'f')
        replace_code(patches, function, &function_forward_def, sets_up ? cls : nb::object(nb::none()));
      else
        replace_code(patches, function, &unrecorded_def);
    }
  }
}

// --- torch.jit.script and trace of functions
// -----------------------------------------------------------------------------

// `self` is (original __call__,).
PyObject* script_call_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    nb::handle function(PyTuple_GET_ITEM(args, 0));
    const NodeId first = next_node(*recorder);
    Node node;
    node.op = Opcode::call_function;
    // A scripted function of a module goes by the name of the Python function that it was made of.
    nb::object source = nb::getattr(function, "_torchdynamo_inline", nb::none());
    if (!source.is_none()) {
      const std::string home = text_of(nb::getattr(source, "__module__", nb::str(""))),
                        name = text_of(nb::getattr(source, "__qualname__", nb::str("<>")));
      PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), home.c_str());
      if (home != "__main__" && module && nb::getattr(nb::handle(module), name.c_str(), nb::none()).is(function))
        node.target = home + "." + name;
    }
    if (node.target.empty()) node.callee = recorder->capture().objects.value(function);
    recorder->note_kept(
        node.target.empty() ? text_of(nb::getattr(function, "name", nb::str("a scripted function"))) : node.target,
        "compiled by torch.jit");
    add_arguments(*recorder, args, 1, kwargs, node);
    return record_whole(*recorder, first, std::move(node), [&] { return PyObject_Call(original, args, kwargs); });
  });
}
PyMethodDef script_call_def = {"__call__", as_c_function(script_call_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

void patch_script_functions(Patches& patches) {
  nb::object jit = nb::module_::import_("torch").attr("jit");
  if (!nb::hasattr(jit, "ScriptFunction")) return;
  nb::object type = jit.attr("ScriptFunction");
  nb::object original = type.attr("__call__");
  nb::object slot = checked(PyCFunction_New(&script_call_def, nb::make_tuple(original).ptr()));
  patches.set_class_entry(reinterpret_cast<PyTypeObject*>(type.ptr()), "__call__",
                          checked(PyInstanceMethod_New(slot.ptr())));
}

// --- torch.vmap, torch.func.grad
// --------------------------------------------------------------------------------------------

// `self` is (implementation, clone, a name). The call becomes one node, which `begin(recorder, node, name)` starts.
template <class Begin>
PyObject* whole_call(PyObject* self, PyObject* const* call, Py_ssize_t nargs, Begin&& begin) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *clone = PyTuple_GET_ITEM(self, 1), *args = call[0], *kwargs = or_null(call[1]);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(clone, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    const NodeId first = next_node(*recorder);
    Node node;
    node.op = Opcode::call_function;
    begin(*recorder, node, text_of(PyTuple_GET_ITEM(self, 2)));
    add_arguments(*recorder, args, 0, kwargs, node);
    return record_whole(*recorder, first, std::move(node), [&] { return PyObject_Call(clone, args, kwargs); });
  });
}

// The name is that of the transform.
PyObject* transform_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return whole_call(self, call, nargs, [](Recorder& recorder, Node& node, const std::string& transform) {
    node.target = transform == "vmap" ? kVmap : kGradient;
    if (transform != "vmap") node.args.push_back(Value::string(transform));
    recorder.note_kept(transform, "a function transform of torch.func");
  });
}
PyMethodDef transform_def = {"transform", as_c_function(transform_slot), METH_FASTCALL, nullptr};

// The same without a word in the report: torch's own functions that its function mode does not see, by name.
PyObject* setting_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return whole_call(self, call, nargs, [](Recorder&, Node& node, const std::string& name) { node.target = name; });
}
PyMethodDef setting_def = {"setting", as_c_function(setting_slot), METH_FASTCALL, nullptr};

void patch_transforms(Patches& patches) {
  constexpr const char* kTransforms[][3] = {
      {"torch._functorch.vmap", "vmap_impl", "vmap"},
      {"torch._functorch.eager_transforms", "grad_impl", "grad"},
      {"torch._functorch.eager_transforms", "grad_and_value_impl", "grad_and_value"},
  };
  PyObject* modules = PyImport_GetModuleDict();
  for (const auto& [home, name, ours] : kTransforms) {
    PyObject* module = PyDict_GetItemString(modules, home);
    if (!module || !nb::hasattr(module, name)) continue;  // not in use, or of another torch
    nb::object function = nb::handle(module).attr(name);
    if (PyFunction_Check(function.ptr())) replace_code(patches, function, &transform_def, nb::str(ours));
  }
}

// --- torch.utils.checkpoint
// ------------------------------------------------------------------------------------------------

// The inside is recorded: its gradients are those of the checkpointed one, its memory is not.
PyObject* record_through(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs, bool reentrant) {
  if (!reentrant) return PyObject_Call(function, args, kwargs);
  // A reentrant checkpoint gives no gradients to anything unless an argument asks for one.
  Regions::Maker maker{std::string(kReentrant), {}, {}};
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    if (TorchTypes::instance().is_tensor(PyTuple_GET_ITEM(args, i)) || is_proxy(PyTuple_GET_ITEM(args, i)))
      maker.args.push_back(recorder.to_value(PyTuple_GET_ITEM(args, i)));
  recorder.regions->enter(args, std::move(maker));
  nb::object result = nb::steal(PyObject_Call(function, args, kwargs));
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  recorder.regions->leave(args);
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

// --- nn.Parameter(x)
// -----------------------------------------------------------------------------------------------------------

// `self` is (Parameter.__new__, clone).
PyObject* parameter_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *clone = PyTuple_GET_ITEM(self, 1), *args = call[0], *kwargs = or_null(call[1]);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(clone, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    PyObject* data = PyTuple_GET_SIZE(args) > 1 ? PyTuple_GET_ITEM(args, 1) : nullptr;
    if (!data && kwargs) data = PyDict_GetItemString(kwargs, "data");
    const bool is_plain = PyTuple_GET_SIZE(args) > 0 &&
                          PyTuple_GET_ITEM(args, 0) == reinterpret_cast<PyObject*>(TorchTypes::instance().parameter);
    if (!data || !is_plain || recorder->node_of(data) == kNoNode) return PyObject_Call(clone, args, kwargs);
    const NodeId first = next_node(*recorder);
    Node node;
    node.op = Opcode::call_function;
    node.target = "torch.nn.Parameter";
    add_arguments(*recorder, args, 1, kwargs, node);
    return record_whole(*recorder, first, std::move(node), [&] { return PyObject_Call(clone, args, kwargs); });
  });
}
PyMethodDef parameter_def = {"__new__", as_c_function(parameter_slot), METH_FASTCALL, nullptr};

void patch_parameter(Patches& patches) {
  nb::handle type(reinterpret_cast<PyObject*>(TorchTypes::instance().parameter));
  nb::object make = type.attr("__new__");
  if (PyFunction_Check(make.ptr())) replace_code(patches, make, &parameter_def);
}

// --- what sets the state of torch
// ------------------------------------------------------------------------------------------------

void patch_settings(Patches& patches) {
  constexpr const char* kSettings[][3] = {
      {"torch.random", "manual_seed", "torch.manual_seed"},
      {"torch.random", "set_rng_state", "torch.set_rng_state"},
      {"torch.random", "get_rng_state", "torch.get_rng_state"},
      {"torch", "set_default_dtype", "torch.set_default_dtype"},
  };
  PyObject* modules = PyImport_GetModuleDict();
  for (const auto& [home, name, function_name] : kSettings) {
    PyObject* module = PyDict_GetItemString(modules, home);
    nb::object function = module ? nb::getattr(nb::handle(module), name, nb::none()) : nb::none();
    if (PyFunction_Check(function.ptr())) replace_code(patches, function, &setting_def, nb::str(function_name));
  }
}

}  // namespace

void patch_opaque_bodies(Patches& patches) {
  patch_settings(patches);
  patch_autograd_functions(patches);
  patch_script_functions(patches);
  patch_transforms(patches);
  patch_checkpoint(patches);
  patch_parameter(patches);
}

void refuse_function_transforms(Recorder& recorder) {
  static PyObject* const are_active = [] {
    nb::object c = nb::module_::import_("torch").attr("_C");
    return nb::object(nb::getattr(c, "_are_functorch_transforms_active", nb::none())).release().ptr();
  }();
  if (are_active == Py_None) return;
  nb::object active = checked(PyObject_CallNoArgs(are_active));
  if (active.ptr() == Py_True)
    recorder.refuse_control_flow("a transform of torch.func other than vmap, grad and grad_and_value");
}

}  // namespace modulize
