#include "bridge/capture/capture.h"

#include "bridge/capture/patches.h"
#include "bridge/capture/proxy.h"
#include "bridge/capture/recorder.h"
#include "bridge/support/errors.h"

namespace modulize {

namespace {

/// Gradients off and the random state saved, both put back at the end.
class QuietRun {
 public:
  QuietRun() {
    nb::module_ torch = nb::module_::import_("torch");
    set_grad_ = torch.attr("_C").attr("_set_grad_enabled");
    was_enabled_ = torch.attr("is_grad_enabled")();
    rng_ = torch.attr("get_rng_state")();
    nb::object cuda = torch.attr("cuda");
    if (nb::cast<bool>(cuda.attr("is_initialized")())) cuda_rng_ = cuda.attr("get_rng_state_all")();
    nb::module_ random = nb::module_::import_("random");
    python_rng_ = random.attr("getstate")();
    set_grad_(false);
  }
  ~QuietRun() {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    try {
      set_grad_(was_enabled_);
      nb::module_ torch = nb::module_::import_("torch");
      torch.attr("set_rng_state")(rng_);
      if (cuda_rng_.is_valid()) torch.attr("cuda").attr("set_rng_state_all")(cuda_rng_);
      nb::module_::import_("random").attr("setstate")(python_rng_);
    } catch (nb::python_error& e) {
      e.discard_as_unraisable("restoring the random state after a capture");
    }
    PyErr_Restore(type, value, trace);
  }

  bool grad_was_enabled() const { return was_enabled_.is(nb::handle(Py_True)); }

 private:
  nb::object set_grad_, was_enabled_, rng_, cuda_rng_, python_rng_;
};

/// Captures of several threads take turns: what they replace is the process's. A capture within a capture is the same
/// thread's and goes on.
class CaptureTurn {
 public:
  CaptureTurn() {
    static PyObject* const lock = nb::module_::import_("threading").attr("RLock")().release().ptr();
    lock_ = nb::borrow(lock);
    lock_.attr("acquire")();
  }
  ~CaptureTurn() {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject* done = PyObject_CallMethod(lock_.ptr(), "release", nullptr);
    if (!done) PyErr_WriteUnraisable(lock_.ptr());
    Py_XDECREF(done);
    PyErr_Restore(type, value, trace);
  }

 private:
  nb::object lock_;
};

struct Parameter {
  std::string name;
  ParameterKind kind;
  nb::object default_value;  // invalid: none
};

std::vector<Parameter> signature_of(nb::handle forward) {
  nb::object inspect = nb::module_::import_("inspect");
  nb::object empty = inspect.attr("Parameter").attr("empty");
  std::vector<Parameter> out;
  for (nb::handle p : inspect.attr("signature")(forward).attr("parameters").attr("values")()) {
    nb::object fallback = p.attr("default");
    out.push_back({nb::cast<std::string>(p.attr("name")),
                   static_cast<ParameterKind>(nb::cast<int>(nb::int_(nb::object(p.attr("kind"))))),
                   fallback.is(empty) ? nb::object() : fallback});
  }
  return out;
}

bool is_plain_value(PyObject* o) {
  return o == Py_None || PyBool_Check(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) || PyUnicode_CheckExact(o);
}

class ArgumentBuilder {
 public:
  ArgumentBuilder(Recorder& recorder, nb::handle placeholder_class)
      : recorder_(recorder), placeholder_class_(nb::borrow(placeholder_class)) {}

  /// The object that forward gets for `value`, the argument that `node` yields. Tensors are copied, so that the user's are
  /// never written; what is neither tensor nor container is checked to be the same when the prepared model is called.
  nb::object build(nb::handle value, NodeId node, const std::string& text) {
    const TorchTypes& torch = TorchTypes::instance();
    if (is_free(value)) return nb::steal(recorder_.make_proxy(node));
    if (torch.is_tensor(value.ptr())) {
      if (recorder_.mode() == CaptureMode::symbolic) return nb::borrow(value);
      Recorder::Pause quiet(recorder_);
      nb::object copy = value.attr("detach")().attr("clone")();
      if (nb::cast<bool>(value.attr("requires_grad"))) copy.attr("requires_grad_")();
      nb::object tagged = nb::steal(recorder_.wrap_result(copy.ptr(), node, true));
      return tagged;
    }
    PyObject* o = value.ptr();
    if (PyTuple_Check(o) || PyList_Check(o)) {
      nb::list items;
      const Py_ssize_t count = PySequence_Fast_GET_SIZE(o);
      for (Py_ssize_t i = 0; i < count; ++i) {
        nb::object item = nb::borrow(PySequence_Fast_GET_ITEM(o, i));
        items.append(build(item, element(node, Value::integer(i), item), text + "[" + std::to_string(i) + "]"));
      }
      recorder_.add_check(recorder_.add_function("builtins.len", {Value::node(node)}, ValueType::number),
                          Value::integer(count), "the length of " + text);
      nb::object type = nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(o)));
      if (PyList_CheckExact(o)) return nb::object(items);
      if (PyTuple_Check(o) && nb::hasattr(type, "_make")) return type.attr("_make")(items);
      return type(items);
    }
    if (PyDict_Check(o)) {
      nb::object out = nb::steal(PyObject_CallNoArgs(reinterpret_cast<PyObject*>(Py_TYPE(o))));
      if (!out.is_valid()) nb::raise_python_error();
      for (auto [key, item] : nb::borrow<nb::dict>(value)) {
        const std::string shown = nb::cast<std::string>(nb::repr(key));
        out[key] = build(item, element(node, recorder_.to_value(key.ptr()), item), text + "[" + shown + "]");
      }
      nb::object keys = nb::steal(PyDict_Keys(o));
      recorder_.add_check(recorder_.add_function("builtins.list", {Value::node(node)}, ValueType::other),
                          recorder_.to_value(keys.ptr()), "the keys of " + text);
      return out;
    }
    if (!is_plain_value(o) && _PyObject_GetDictPtr(o) && !PyType_Check(o) && !PyFunction_Check(o))
      throw Error(ErrorCode::CaptureError, text + " is a " + nb::cast<std::string>(nb::type_name(value.type())) +
                                               ": inputs may be tensors, numbers, texts, None and lists, tuples and "
                                               "dicts of them");
    recorder_.add_check(node, recorder_.to_value(o), text);
    return nb::borrow(value);
  }

 private:
  bool is_free(nb::handle value) const {
    return placeholder_class_.is_valid() && !placeholder_class_.is_none() &&
           PyObject_IsInstance(value.ptr(), placeholder_class_.ptr()) == 1;
  }
  NodeId element(NodeId node, Value key, nb::handle item) {
    const ValueType type = TorchTypes::instance().is_tensor(item.ptr()) ? ValueType::tensor : ValueType::unknown;
    return recorder_.add_function("operator.getitem", {Value::node(node), std::move(key)}, type);
  }
  Recorder& recorder_;
  nb::object placeholder_class_;
};

// torch.fx hands `*args` and `**kwargs` over as one symbol each: forward is called through a copy of its code that takes them as plain
// parameters. Only the function that has them by itself can be called so; a decorated one cannot.
nb::object with_plain_parameters(nb::handle forward, std::size_t count) {
  nb::object function = nb::getattr(forward, "__func__", nb::borrow(forward));
  if (!PyFunction_Check(function.ptr()) || nb::hasattr(function, "__wrapped__"))
    throw Error(ErrorCode::CaptureError,
                "forward takes *args or **kwargs behind a decorator, whose number is unknown without inputs: give example_inputs");
  nb::object code = function.attr("__code__");
  const int flags = nb::cast<int>(code.attr("co_flags")) & ~(0x04 | 0x08);  // CO_VARARGS, CO_VARKEYWORDS
  nb::object plain = code.attr("replace")(nb::arg("co_argcount") = count, nb::arg("co_kwonlyargcount") = 0,
                                          nb::arg("co_posonlyargcount") = 0, nb::arg("co_flags") = flags);
  nb::object types = nb::module_::import_("types");
  return types.attr("FunctionType")(plain, function.attr("__globals__"), function.attr("__name__"), nb::none(),
                                    function.attr("__closure__"));
}

NodeId add_placeholder(Recorder& recorder, const Parameter& parameter, nb::handle fallback) {
  Node node;
  node.op = Opcode::placeholder;
  node.target = parameter.kind == ParameterKind::var_positional ? "*" + parameter.name
                : parameter.kind == ParameterKind::var_keyword  ? "**" + parameter.name
                                                                : parameter.name;
  if (fallback.is_valid())
    node.args.push_back(TorchTypes::instance().is_tensor(fallback.ptr()) ? recorder.capture().objects.value(fallback)
                                                                        : recorder.to_value(fallback.ptr()));
  recorder.graph().parameter_kinds.push_back(parameter.kind);
  return recorder.graph().add(std::move(node));
}

/// Refuses an output that holds objects whose tensors the graph would freeze.
void check_output(const Capture& capture, const Value& value) {
  switch (value.kind()) {
    case ValueKind::object: {
      nb::handle object = capture.objects[value.as_object().id];
      if (_PyObject_GetDictPtr(object.ptr()) && !PyType_Check(object.ptr()) && !PyFunction_Check(object.ptr()))
        throw Error(ErrorCode::CaptureError,
                    "forward returns a " + nb::cast<std::string>(nb::type_name(object.type())) +
                        ": outputs may be tensors, numbers, texts, None and (named) tuples, lists, dicts and dataclasses of them");
      return;
    }
    case ValueKind::tuple:
    case ValueKind::list:
      for (const Value& item : value.items()) check_output(capture, item);
      return;
    case ValueKind::dict:
      for (const auto& [key, item] : value.dict_items()) check_output(capture, item);
      return;
    default:
      return;
  }
}

nb::object call(nb::handle function, const std::vector<nb::object>& positional, const nb::dict& keywords) {
  nb::object args = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(positional.size())));
  for (std::size_t i = 0; i < positional.size(); ++i) {
    Py_INCREF(positional[i].ptr());
    PyTuple_SET_ITEM(args.ptr(), static_cast<Py_ssize_t>(i), positional[i].ptr());
  }
  nb::object result = nb::steal(PyObject_Call(function.ptr(), args.ptr(), keywords.ptr()));
  if (!result.is_valid()) nb::raise_python_error();
  return result;
}

/// The arguments of a running capture by parameter name: example inputs and fixed ones together.
nb::dict bind_example(nb::handle forward, const CaptureOptions& options) {
  nb::object inspect = nb::module_::import_("inspect");
  nb::object signature = inspect.attr("signature")(forward);
  nb::dict keywords;
  if (!options.example_kwargs.is_none()) keywords.update(nb::borrow<nb::dict>(options.example_kwargs));
  if (!options.concrete_args.is_none())
    for (auto [key, value] : nb::borrow<nb::dict>(options.concrete_args)) keywords[key] = value;
  nb::object args = options.example_inputs.is_none() ? nb::object(nb::tuple()) : options.example_inputs;
  nb::object bound = nb::steal(PyObject_Call(nb::object(signature.attr("bind")).ptr(), args.ptr(), keywords.ptr()));
  if (!bound.is_valid()) {
    nb::python_error error;
    if (!error.matches(PyExc_TypeError)) throw error;
    throw Error(ErrorCode::ArgumentError, "the example inputs do not fit forward" +
                                              text_of(signature) + ": " +
                                              text_of(error.value()));
  }
  return nb::borrow<nb::dict>(nb::dict(bound.attr("arguments")));
}

bool fixed_without_inputs(nb::handle fallback) {
  return fallback.is_valid() &&
         (fallback.is_none() || PyBool_Check(fallback.ptr()) || PyUnicode_Check(fallback.ptr()));
}

void record_forward(nb::handle root, const CaptureOptions& options, Recorder& recorder, nb::handle forward) {
  const bool running = recorder.mode() == CaptureMode::running;
  nb::object ph_base = nb::module_::import_("torch.fx._symbolic_trace").attr("PHBase");
  const std::vector<Parameter> parameters = signature_of(forward);
  nb::dict given;
  if (running)
    given = bind_example(forward, options);
  else if (!options.concrete_args.is_none())
    given = nb::borrow<nb::dict>(options.concrete_args);
  nb::dict fixed;
  if (!options.concrete_args.is_none()) fixed = nb::borrow<nb::dict>(options.concrete_args);

  // Placeholders first, all of them: the graph begins with its signature.
  std::vector<NodeId> nodes;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    nb::object fallback = parameters[i].default_value;
    const char* name = parameters[i].name.c_str();
    if (fixed.contains(name) && fallback.is_valid()) {
      fallback = nb::borrow(fixed[name]);  // left out, it has the fixed value
    } else if (fixed.contains(name)) {
      // A fixed argument may be left out, unless one without a default follows it.
      bool optional = true;
      if (parameters[i].kind != ParameterKind::keyword_only)
        for (std::size_t k = i + 1; k < parameters.size(); ++k)
          optional &= parameters[k].default_value.is_valid() || fixed.contains(parameters[k].name.c_str()) ||
                      parameters[k].kind >= ParameterKind::var_positional ||
                      parameters[k].kind == ParameterKind::keyword_only;
      if (optional) fallback = nb::borrow(fixed[name]);
    }
    nodes.push_back(add_placeholder(recorder, parameters[i], fallback));
  }

  ArgumentBuilder builder(recorder, ph_base);
  std::vector<nb::object> positional;
  nb::dict keywords;
  bool has_variadic = false;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const std::string text = "argument '" + parameter.name + "'";
    const bool is_given = given.contains(parameter.name.c_str());
    nb::object value = is_given ? nb::borrow(given[parameter.name.c_str()]) : parameter.default_value;
    nb::object argument;
    if (parameter.kind == ParameterKind::var_positional || parameter.kind == ParameterKind::var_keyword) {
      has_variadic = true;
      if (!running) {
        positional.push_back(nb::steal(recorder.make_proxy(nodes[i])));
        continue;
      }
      if (!value.is_valid())
        value = parameter.kind == ParameterKind::var_positional ? nb::object(nb::tuple()) : nb::object(nb::dict());
      argument = builder.build(value, nodes[i], text);
      if (parameter.kind == ParameterKind::var_positional)
        for (nb::handle item : argument) positional.push_back(nb::borrow(item));
      else
        keywords.update(nb::borrow<nb::dict>(argument));
      continue;
    }
    if (running || is_given || fixed_without_inputs(value))
      argument = builder.build(value, nodes[i], text);
    else
      argument = nb::steal(recorder.make_proxy(nodes[i]));
    if (running && parameter.kind == ParameterKind::keyword_only)
      keywords[parameter.name.c_str()] = argument;
    else if (parameter.kind == ParameterKind::keyword_only)
      keywords[parameter.name.c_str()] = argument;
    else
      positional.push_back(std::move(argument));
  }

  nb::object function = nb::borrow(forward);
  if (!running && has_variadic) {
    // With the variadic ones as plain parameters, keyword-only ones come before them in the code's order.
    std::vector<nb::object> all;
    const bool bound = nb::hasattr(forward, "__self__");
    if (bound) all.push_back(nb::borrow(root));
    std::size_t at = 0;
    std::vector<nb::object> variadic;
    for (const Parameter& parameter : parameters) {
      if (parameter.kind == ParameterKind::keyword_only) continue;
      if (parameter.kind == ParameterKind::var_positional || parameter.kind == ParameterKind::var_keyword)
        variadic.push_back(positional[at++]);
      else
        all.push_back(positional[at++]);
    }
    for (const Parameter& parameter : parameters)
      if (parameter.kind == ParameterKind::keyword_only) all.push_back(nb::borrow(keywords[parameter.name.c_str()]));
    for (nb::object& v : variadic) all.push_back(v);
    function = with_plain_parameters(forward, all.size());
    positional = std::move(all);
    keywords = nb::dict();
  }

  nb::object result = call(function, positional, keywords);
  recorder.settle_training_read();
  if (running) recorder.capture().output = result;
  Node output;
  output.op = Opcode::output;
  output.args.push_back(recorder.to_value(result.ptr()));
  check_output(recorder.capture(), output.args[0]);
  recorder.graph().add(std::move(output));
}

void insert_all(std::unordered_set<PyObject*>& set, const nb::object& items) {
  if (items.is_none()) return;
  for (nb::handle item : items) set.insert(item.ptr());
}

void exclude_tree(Recorder& recorder, nb::handle module) {
  for (nb::handle child : module.attr("modules")()) recorder.excluded_modules.insert(child.ptr());
}

}  // namespace

void capture_model(nb::handle root, const CaptureOptions& options, Capture& capture) {
  const bool running = !options.example_inputs.is_none() || !options.example_kwargs.is_none();
  const CaptureMode mode = running ? CaptureMode::running : CaptureMode::symbolic;
  FunctionNames::instance();  // before math.* and others are replaced, so that it knows the real ones
  const ModuleScan scan = scan_modules(root);
  if (!running) proxy_type();
  CaptureTurn turn;
  QuietRun quiet;
  StateSnapshot snapshot(scan, running);
  Recorder recorder(root, mode, scan, capture);
  capture.graph.name = "net";
  if (!options.modules_to_exclude.is_none())
    for (nb::handle module : options.modules_to_exclude) exclude_tree(recorder, module);
  insert_all(recorder.excluded_classes, options.module_classes_to_exclude);
  insert_all(recorder.excluded_functions, options.functions_to_exclude);

  nb::object forward = root.attr("forward");
  struct Restore {
    StateSnapshot& snapshot;
    bool done = false;
    ~Restore() {
      if (done) return;
      PyObject *type, *value, *trace;
      PyErr_Fetch(&type, &value, &trace);
      try {
        snapshot.restore();
      } catch (nb::python_error& e) {
        e.discard_as_unraisable("restoring the model after a capture");
      }
      PyErr_Restore(type, value, trace);
    }
  } restore{snapshot};
  {
    Patches patches;
    patch_torch(patches, mode, quiet.grad_was_enabled());
    patch_python(patches, recorder);
    if (!running) patch_wrapped(patches);
    patch_registered(patches, options.functions_to_exclude);
    patch_excluded(patches, options.functions_to_exclude);
    ActiveRecorder active(recorder);
    ModeOnStack on_stack(recorder);
    recorder.meet_globals_of(root.ptr());
    recorder.use_module("", root.ptr());  // the root scope: its mode flag decides about dropout
    record_forward(root, options, recorder, forward);
  }
  recorder.on_globals = nullptr;
  restore.done = true;
  capture.written_state = snapshot.restore();
  recorder.finish();
  // The user's own names that begin like ours may not be given to new modules.
  for (const std::string& path : scan.taken)
    if (!capture.graph.modules.is_taken(path)) capture.graph.modules.add_taken(path);
}

}  // namespace modulize
