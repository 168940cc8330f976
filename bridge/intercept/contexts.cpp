#include "bridge/intercept/contexts.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"
#include "bridge/record/training_flag.h"
#include "ir/regions.h"

namespace modulize {

// --- what is entered ----------------------------------------------------------------------------------------

namespace {

ValueList values_of(Recorder& recorder, nb::handle items) {
  ValueList out;
  for (nb::handle item : items) out.push_back(recorder.to_value(item.ptr()));
  return out;
}

Kwargs keywords_of(Recorder& recorder, PyObject* kwargs) {
  Kwargs out;
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      out.emplace_back(nb::cast<std::string>(nb::handle(key)), recorder.to_value(value));
  return out;
}

// How the arguments of a context manager that exists already are read off it.
enum class State : std::uint8_t {
  none,      // it has no arguments
  mode,      // its attribute `mode`
  autocast,  // device, dtype, whether it is on, whether weights are cached
  unknown,   // the object itself is entered
};

struct ContextClass {
  const char* module;
  const char* type;
  const char* name;  // public
  State state;
};

constexpr ContextClass kClasses[] = {
    {"torch.autograd.grad_mode", "no_grad", "torch.no_grad", State::none},
    {"torch.autograd.grad_mode", "enable_grad", "torch.enable_grad", State::none},
    {"torch.autograd.grad_mode", "set_grad_enabled", "torch.set_grad_enabled", State::unknown},
    {"torch.autograd.grad_mode", "inference_mode", "torch.inference_mode", State::mode},
    {"torch.amp.autocast_mode", "autocast", "torch.autocast", State::autocast},
    {"torch.autograd.anomaly_mode", "detect_anomaly", "torch.autograd.detect_anomaly", State::unknown},
    {"torch.autograd.profiler", "record_function", "torch.autograd.profiler.record_function", State::unknown},
    {"torch.autograd.graph", "saved_tensors_hooks", "torch.autograd.graph.saved_tensors_hooks", State::unknown},
};

// Functions under contextlib.contextmanager, by public name.
constexpr const char* kFunctions[][2] = {
    {"torch.nn.attention", "sdpa_kernel"}, {"torch.backends.cuda", "sdp_kernel"},
    {"torch.backends.cudnn", "flags"},     {"torch.backends.mkldnn", "flags"},
    {"torch.backends.nnpack", "flags"},    {"torch.backends.opt_einsum", "flags"},
    {"torch.backends.miopen", "flags"},    {"torch.random", "fork_rng"},
};

Regions::Maker maker_from_state(Recorder& recorder, nb::handle context, const ContextClass& cls) {
  Regions::Maker maker{cls.name, {}, {}};
  switch (cls.state) {
    case State::none:
      return maker;
    case State::mode:
      maker.args.push_back(recorder.to_value(nb::object(context.attr("mode")).ptr()));
      return maker;
    case State::autocast: {
      const auto read = [&](const char* name) { return recorder.to_value(nb::object(context.attr(name)).ptr()); };
      maker.args.push_back(read("device"));
      maker.kwargs = {
          {"dtype", read("fast_dtype")}, {"enabled", read("_enabled")}, {"cache_enabled", read("_cache_enabled")}};
      return maker;
    }
    case State::unknown:
      break;
  }
  return {std::string(kGiven), {recorder.capture().objects.value(context)}, {}};
}

// `self` is (original __init__, index into kClasses). What the object is made of, for entering it later.
PyObject* init_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    const ContextClass& cls = kClasses[PyLong_AsSsize_t(PyTuple_GET_ITEM(self, 1))];
    nb::object rest = checked(PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args)));
    Regions::Maker maker{cls.name, {}, {}};
    const bool sets_gradients = std::string_view(cls.type) == "set_grad_enabled";
    if (sets_gradients && PyTuple_GET_SIZE(rest.ptr()) == 1)
      maker.args.push_back(
          flag_value(*recorder, PyTuple_GET_ITEM(rest.ptr(), 0), static_cast<NodeId>(recorder->graph().id_limit())));
    else
      maker.args = values_of(*recorder, rest);
    maker.kwargs = keywords_of(*recorder, kwargs);
    bool symbols = false;
    if (recorder->mode() == CaptureMode::symbolic) {
      for (const Value& v : maker.args) symbols |= v.has_node();
      for (const auto& [key, v] : maker.kwargs) symbols |= v.has_node();
    }
    nb::object result = nb::none();
    // A symbol is no argument that torch would take, and nothing is computed here.
    if (!symbols) {
      Pause quiet(*recorder);
      result = checked(PyObject_Call(original, args, kwargs));
    }
    NodeId acted = kNoNode;
    if (sets_gradients) {
      const Value mode = !maker.args.empty() ? maker.args[0] : maker.kwargs.empty() ? Value() : maker.kwargs[0].second;
      acted = recorder->regions().set_gradients(mode);
    }
    recorder->regions().made(PyTuple_GET_ITEM(args, 0), std::move(maker), acted);
    return result.release().ptr();
  });
}
PyMethodDef init_def = {"__init__", as_c_function(init_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

bool is_made_of_symbols(Recorder& recorder, PyObject* context) {
  if (recorder.mode() != CaptureMode::symbolic) return false;
  const Regions::Maker* maker = recorder.regions().maker_of(context);
  if (!maker) return false;
  bool symbols = false;
  for (const Value& v : maker->args) symbols |= v.has_node();
  for (const auto& [key, v] : maker->kwargs) symbols |= v.has_node();
  return symbols;
}

// `self` is (original __enter__, index into kClasses).
PyObject* enter_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    PyObject* context = PyTuple_GET_ITEM(args, 0);
    const ContextClass& cls = kClasses[PyLong_AsSsize_t(PyTuple_GET_ITEM(self, 1))];
    recorder->regions().unset_gradients(context);
    const Regions::Maker* made = recorder->regions().maker_of(context);
    Regions::Maker maker = made ? *made : maker_from_state(*recorder, context, cls);
    nb::object result = nb::borrow(context);
    if (!is_made_of_symbols(*recorder, context)) {
      Pause quiet(*recorder);
      result = checked(PyObject_Call(original, args, kwargs));
    }
    recorder->regions().enter(context, std::move(maker));
    return result.release().ptr();
  });
}
PyMethodDef enter_def = {"__enter__", as_c_function(enter_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// `self` is (original __exit__, anything).
PyObject* exit_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    PyObject* context = PyTuple_GET_ITEM(args, 0);
    nb::object result = nb::none();
    if (!is_made_of_symbols(*recorder, context)) {
      Pause quiet(*recorder);
      result = checked(PyObject_Call(original, args, kwargs));
    }
    recorder->regions().leave(context);
    return result.release().ptr();
  });
}
PyMethodDef exit_def = {"__exit__", as_c_function(exit_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// torch.set_grad_enabled(False)(function): the call takes back what making the decorator did. `self` is (original,
// index).
PyObject* decorate_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    recorder->regions().unset_gradients(PyTuple_GET_ITEM(args, 0));
    Pause quiet(*recorder);
    return PyObject_Call(original, args, kwargs);
  });
}
PyMethodDef decorate_def = {"__call__", as_c_function(decorate_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// Fills in `maker` for a manager made by a function under contextlib.contextmanager; false if it is none of ours.
// `self` is the dict {function: public name}.
bool maker_of_generator(Recorder& recorder, PyObject* known, nb::handle context, Regions::Maker& maker) {
  if (!nb::hasattr(context, "func")) return false;
  nb::object function = context.attr("func");
  PyObject* name = PyDict_GetItem(known, function.ptr());
  if (!name) return false;
  maker.name = nb::cast<std::string>(nb::handle(name));
  nb::object args = context.attr("args"), keywords = context.attr("kwds");
  if (maker.name != "torch.nn.attention.sdpa_kernel") {
    maker.args = values_of(recorder, args);
    maker.kwargs = keywords_of(recorder, keywords.ptr());
    return true;
  }
  // Backends are objects without a form in source: they go by name.
  maker.name = kSdpaKernel;
  nb::list positional(args);
  nb::object backends = nb::len(positional) > 0 ? nb::object(positional[0]) : nb::object(keywords["backends"]);
  nb::object priority = nb::len(positional) > 1 ? nb::object(positional[1])
                                                : nb::object(keywords.attr("get")("set_priority", nb::bool_(false)));
  if (PyList_Check(backends.ptr()) || PyTuple_Check(backends.ptr()))
    for (nb::handle backend : backends) maker.args.push_back(Value::string(text_of(backend.attr("name"))));
  else
    maker.args.push_back(Value::string(text_of(backends.attr("name"))));
  if (priority.is(nb::handle(Py_True))) maker.kwargs.emplace_back("set_priority", Value::boolean(true));
  return true;
}

// `self` is (original __enter__, {function: public name}).
PyObject* generator_enter_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    nb::handle context(PyTuple_GET_ITEM(args, 0));
    Regions::Maker maker;
    if (!maker_of_generator(*recorder, PyTuple_GET_ITEM(self, 1), context, maker))
      return PyObject_Call(original, args, kwargs);
    nb::object result;
    {
      Pause quiet(*recorder);
      result = checked(PyObject_Call(original, args, kwargs));
    }
    recorder->regions().enter(context.ptr(), std::move(maker));
    return result.release().ptr();
  });
}
PyMethodDef generator_enter_def = {"__enter__", as_c_function(generator_enter_slot), METH_VARARGS | METH_KEYWORDS,
                                   nullptr};

// `self` is (original __exit__,).
PyObject* generator_exit_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    PyObject* context = PyTuple_GET_ITEM(args, 0);
    if (!recorder->regions().is_open(context)) return PyObject_Call(original, args, kwargs);
    nb::object result;
    {
      Pause quiet(*recorder);
      result = checked(PyObject_Call(original, args, kwargs));
    }
    recorder->regions().leave(context);
    return result.release().ptr();
  });
}
PyMethodDef generator_exit_def = {"__exit__", as_c_function(generator_exit_slot), METH_VARARGS | METH_KEYWORDS,
                                  nullptr};

nb::object bound_later(PyMethodDef* def, nb::handle self) {
  nb::object function = checked(PyCFunction_New(def, self.ptr()));
  return checked(PyInstanceMethod_New(function.ptr()));
}

}  // namespace

void patch_contexts(Patches& patches) {
  nb::object modules = nb::module_::import_("sys").attr("modules");
  const auto module = [&](const char* name) {
    nb::object found = nb::steal(PyObject_GetItem(modules.ptr(), nb::str(name).ptr()));
    if (!found.is_valid()) PyErr_Clear();  // nobody uses what was never imported
    return found;
  };
  Py_ssize_t index = -1;
  for (const ContextClass& cls : kClasses) {
    ++index;
    nb::object home = module(cls.module);
    if (!home.is_valid() || !nb::hasattr(home, cls.type)) continue;  // of a newer torch
    nb::object type = home.attr(cls.type);
    auto* heap_type = reinterpret_cast<PyTypeObject*>(type.ptr());
    const auto replace = [&](const char* name, PyMethodDef* def) {
      nb::object original = type.attr(name);
      patches.set_class_entry(heap_type, name, bound_later(def, nb::make_tuple(original, index)));
    };
    replace("__enter__", &enter_def);
    replace("__exit__", &exit_def);
    if (cls.state != State::none) replace("__init__", &init_def);
    if (std::string_view(cls.type) == "set_grad_enabled") replace("__call__", &decorate_def);
  }
  nb::dict known;
  for (const auto& [home_name, name] : kFunctions) {
    nb::object home = module(home_name);
    if (!home.is_valid() || !nb::hasattr(home, name)) continue;
    nb::object function = home.attr(name);
    if (nb::hasattr(function, "__wrapped__"))
      known[nb::object(function.attr("__wrapped__"))] = nb::str((std::string(home_name) + "." + name).c_str());
  }
  nb::object manager = nb::module_::import_("contextlib").attr("_GeneratorContextManager");
  auto* manager_type = reinterpret_cast<PyTypeObject*>(manager.ptr());
  nb::object enter = manager.attr("__enter__"), exit = manager.attr("__exit__");
  patches.set_class_entry(manager_type, "__enter__", bound_later(&generator_enter_def, nb::make_tuple(enter, known)));
  patches.set_class_entry(manager_type, "__exit__", bound_later(&generator_exit_def, nb::make_tuple(exit)));
}

}  // namespace modulize
