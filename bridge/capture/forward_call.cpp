#include "bridge/capture/forward_call.h"

#include <algorithm>
#include <vector>

#include "bridge/boundary/call_outside.h"
#include "bridge/boundary/call_sites.h"
#include "bridge/capture/arguments.h"
#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/modules.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"
#include "bridge/record/training_flag.h"
#include "bridge/values/generators.h"
#include "ir/runtime_calls.h"

namespace modulize {

namespace {

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

// torch.fx hands `*args` and `**kwargs` over as one symbol each: forward is called through a copy of its code that
// takes them as plain parameters. Only the function that has them by itself can be called so; a decorated one cannot.
nb::object with_plain_parameters(nb::handle forward, std::size_t count) {
  nb::object function = nb::getattr(forward, "__func__", nb::borrow(forward));
  if (!PyFunction_Check(function.ptr()) || nb::hasattr(function, "__wrapped__"))
    throw Error(ErrorCode::CaptureError,
                "forward takes *args or **kwargs behind a decorator, whose number is unknown without inputs: give "
                "example_inputs");
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
    node.args.push_back(holds_tensor(fallback.ptr()) ? recorder.capture().objects.value(fallback)
                                                     : recorder.to_value(fallback.ptr()));
  recorder.graph().parameter_kinds.push_back(parameter.kind);
  return recorder.graph().add(std::move(node));
}

// All of them, first: the graph begins with its signature. `fixed`: arguments that keep a value.
std::vector<NodeId> add_placeholders(Recorder& recorder, const std::vector<Parameter>& parameters,
                                     const nb::dict& fixed) {
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
  return nodes;
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
    throw Error(ErrorCode::ArgumentError,
                "the example inputs do not fit forward" + text_of(signature) + ": " + text_of(error.value()));
  }
  return nb::borrow<nb::dict>(nb::dict(bound.attr("arguments")));
}

bool fixed_without_inputs(nb::handle fallback) {
  return fallback.is_valid() && (fallback.is_none() || PyBool_Check(fallback.ptr()) || PyUnicode_Check(fallback.ptr()));
}

/// One call of the original's forward on the prepared model itself: only the modules that it calls are prepared.
void record_whole(const CaptureOptions& options, Recorder& recorder, nb::handle forward,
                  const std::vector<Parameter>& parameters, const std::vector<NodeId>& nodes, const nb::dict& given,
                  const nb::dict& fixed) {
  Capture& capture = recorder.capture();
  capture.is_root_kept = true;
  note_kept(recorder, "", options.kept->root->c_str());
  ArgumentBuilder checks(recorder, nb::none());
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (const char* name = parameters[i].name.c_str(); fixed.contains(name))
      checks.build_fixed(nb::object(fixed[name]), nodes[i], "argument '" + parameters[i].name + "'");

  const nb::object function = nb::getattr(forward, "__func__", nb::borrow(forward));
  ValueList positional;
  if (!function.is(forward)) positional.push_back(Value::node(root_module(recorder)));
  // Each argument as the signature takes it; `*args` and `**kwargs` need a call that spreads them.
  ValueDict keywords;
  Value variadic = Value::tuple({}), variadic_keywords = Value::dict({});
  bool spreads = false;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Value value = Value::node(nodes[i]);
    const ParameterKind kind = parameters[i].kind;
    spreads |= kind == ParameterKind::var_positional || kind == ParameterKind::var_keyword;
    if (kind == ParameterKind::var_positional)
      variadic = value;
    else if (kind == ParameterKind::var_keyword)
      variadic_keywords = value;
    else if (kind == ParameterKind::keyword_only)
      keywords.emplace_back(Value::string(parameters[i].name), value);
    else
      positional.push_back(value);
  }
  const std::string region = "forward";
  const NodeId sites = enter_sites(recorder, region);
  Node whole;
  whole.op = Opcode::call_function;
  if (spreads) {
    whole.target = kCallSpread;
    whole.args = {capture.objects.value(function), Value::tuple(std::move(positional)), variadic,
                  Value::dict(std::move(keywords)), variadic_keywords};
  } else {
    whole.callee = capture.objects.value(function);
    whole.args = std::move(positional);
    for (auto& [key, value] : keywords) whole.kwargs.emplace_back(key.text(), std::move(value));
  }
  NodeId result = recorder.add_node(std::move(whole));
  leave_sites(recorder, sites);
  if (!options.plain_outputs.is_none()) {
    Node plain;
    plain.op = Opcode::call_function;
    plain.callee = capture.objects.value(options.plain_outputs);
    plain.args = {Value::node(result)};
    result = recorder.add_node(std::move(plain));
  }

  StructureCopy copies([&](nb::handle leaf) {
    const Pause quiet(recorder);
    return copy_leaf(leaf);
  });
  std::vector<nb::object> items;
  nb::dict named, arguments;
  // A positional parameter in front of `*args` that has items can only come by position.
  const bool is_by_position = std::any_of(parameters.begin(), parameters.end(), [&](const Parameter& p) {
    return p.kind == ParameterKind::var_positional && given.contains(p.name.c_str()) &&
           nb::len(nb::object(given[p.name.c_str()])) > 0;
  });
  for (const Parameter& parameter : parameters) {
    if (!given.contains(parameter.name.c_str())) continue;
    const nb::object value = copies.copy(nb::object(given[parameter.name.c_str()]));
    arguments[parameter.name.c_str()] = value;
    if (parameter.kind == ParameterKind::var_positional)
      for (nb::handle item : value) items.push_back(nb::borrow(item));
    else if (parameter.kind == ParameterKind::var_keyword)
      named.update(nb::borrow<nb::dict>(value));
    else if (parameter.kind != ParameterKind::keyword_only &&
             (is_by_position || parameter.kind == ParameterKind::positional_only))
      items.push_back(value);
    else
      named[parameter.name.c_str()] = value;
  }
  capture.output = checked(
      run_outside(recorder, CallKind::root, region, [&] { return call(forward, items, named).release().ptr(); }));
  capture.arguments = arguments;
  Node output;
  output.op = Opcode::output;
  output.args.push_back(Value::node(result));
  recorder.graph().add(std::move(output));
}

/// What forward is called with.
struct ForwardArguments {
  std::vector<nb::object> positional;
  nb::dict keywords;
  nb::dict by_name;           // the copies of what was given
  bool has_variadic = false;  // `*args` or `**kwargs` are among the parameters
};

bool is_variadic(const Parameter& parameter) {
  return parameter.kind == ParameterKind::var_positional || parameter.kind == ParameterKind::var_keyword;
}

/// `*args` or `**kwargs` of a running capture. `value`: invalid where nothing came.
void add_variadic(ForwardArguments& out, ArgumentBuilder& builder, const Parameter& parameter, NodeId node,
                  nb::object value, const std::string& text) {
  const bool positional = parameter.kind == ParameterKind::var_positional;
  if (!value.is_valid()) value = positional ? nb::object(nb::tuple()) : nb::object(nb::dict());
  const nb::object argument = builder.build(value, node, text, true);
  out.by_name[parameter.name.c_str()] = argument;
  if (positional)
    for (nb::handle item : argument) out.positional.push_back(nb::borrow(item));
  else
    out.keywords.update(nb::borrow<nb::dict>(argument));
}

/// `given`: what came, by parameter. `nodes`: the placeholders.
ForwardArguments build_arguments(const CaptureOptions& options, Recorder& recorder,
                                 const std::vector<Parameter>& parameters, const std::vector<NodeId>& nodes,
                                 const nb::dict& given, const nb::dict& fixed) {
  const bool running = recorder.mode() == CaptureMode::running;
  nb::object ph_base = nb::handle(TorchTypes::instance().fx_tracing).attr("PHBase");
  const std::size_t by_position =
      options.example_inputs.is_none() ? 0 : static_cast<std::size_t>(PyObject_Length(options.example_inputs.ptr()));
  ArgumentBuilder builder(recorder, ph_base);
  ForwardArguments out;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const char* const name = parameter.name.c_str();
    const std::string text = "argument '" + parameter.name + "'";
    const bool is_given = given.contains(name);
    nb::object value = is_given ? nb::borrow(given[name]) : parameter.default_value;
    if (is_variadic(parameter)) {
      out.has_variadic = true;
      if (running)
        add_variadic(out, builder, parameter, nodes[i], std::move(value), text);
      else
        out.positional.push_back(nb::steal(make_proxy(recorder, nodes[i])));
      continue;
    }
    if (running && is_given && parameter.default_value.is_valid() && parameter.default_value.is_none() &&
        (TorchTypes::instance().is_tensor(value.ptr()) || is_generator(value.ptr()) || has_parts(value.ptr()) ||
         PyObject_TypeCheck(value.ptr(), TorchTypes::instance().module)))
      add_check(recorder,
                recorder.add_function("operator.is_", {Value::node(nodes[i]), Value::none()}, ValueType::number),
                Value::boolean(false), "whether " + text + " is None");
    nb::object argument = fixed.contains(name) ? builder.build_fixed(value, nodes[i], text)
                          : running || is_given || fixed_without_inputs(value)
                              ? builder.build(value, nodes[i], text)
                              : nb::steal(make_proxy(recorder, nodes[i]));
    if (is_given) out.by_name[name] = argument;
    const bool is_keyword = parameter.kind == ParameterKind::keyword_only;
    if (running && parameter.kind == ParameterKind::positional_only) {
      out.positional.push_back(std::move(argument));
    } else if (running && (is_keyword || i >= by_position)) {
      // As the example has it: decorators of forward look at what came by name, and at what did not come. A default
      // that holds tensors is given, as forward would otherwise read the very object, whatever comes later.
      if (is_given || holds_tensor(value.ptr())) out.keywords[name] = argument;
    } else if (is_keyword) {
      out.keywords[name] = argument;
    } else {
      out.positional.push_back(std::move(argument));
    }
  }
  return out;
}

/// Without inputs: makes all arguments positional, and gives the function that takes them so.
nb::object with_plain_arguments(nb::handle root, nb::handle forward, const std::vector<Parameter>& parameters,
                                ForwardArguments& arguments) {
  // With the variadic ones as plain parameters, keyword-only ones come before them in the code's order.
  std::vector<nb::object> all, variadic;
  if (nb::hasattr(forward, "__self__")) all.push_back(nb::borrow(root));
  std::size_t at = 0;
  for (const Parameter& parameter : parameters)
    if (parameter.kind != ParameterKind::keyword_only)
      (is_variadic(parameter) ? variadic : all).push_back(arguments.positional[at++]);
  for (const Parameter& parameter : parameters)
    if (parameter.kind == ParameterKind::keyword_only)
      all.push_back(nb::borrow(arguments.keywords[parameter.name.c_str()]));
  for (nb::object& v : variadic) all.push_back(v);
  arguments.positional = std::move(all);
  arguments.keywords = nb::dict();
  return with_plain_parameters(forward, arguments.positional.size());
}

/// The end of forward: what it has left behind is written, then what it returned is the output.
void add_output(Recorder& recorder, nb::handle result) {
  settle_training_read(recorder);
  recorder.regions().finish();
  Node output;
  output.op = Opcode::output;
  {
    const KnownObjects::KeepIdentity identity(recorder.objects());
    recorder.objects().write_back_all();
    if (recorder.settings.state) recorder.settings.state->record();
    output.args.push_back(recorder.to_value(result.ptr()));
  }
  recorder.objects().refuse_hidden_tensors(output.args[0], "forward returns");
  recorder.graph().add(std::move(output));
}

}  // namespace

void record_forward(nb::handle root, const CaptureOptions& options, Recorder& recorder, nb::handle forward) {
  const bool running = recorder.mode() == CaptureMode::running;
  const std::vector<Parameter> parameters = signature_of(forward);
  nb::dict given, fixed;
  if (!options.concrete_args.is_none()) fixed = nb::borrow<nb::dict>(options.concrete_args);
  if (running)
    given = bind_example(forward, options);
  else
    given = fixed;
  const std::vector<NodeId> nodes = add_placeholders(recorder, parameters, fixed);
  if (options.kept && options.kept->root) {
    record_whole(options, recorder, forward, parameters, nodes, given, fixed);
    return;
  }
  ForwardArguments arguments = build_arguments(options, recorder, parameters, nodes, given, fixed);
  nb::object function = nb::borrow(forward);
  if (!running && arguments.has_variadic) function = with_plain_arguments(root, forward, parameters, arguments);

  if (recorder.settings.state) recorder.settings.state->make_live();
  nb::object result = call(function, arguments.positional, arguments.keywords);
  if (!options.plain_outputs.is_none()) result = options.plain_outputs(result);
  add_output(recorder, result);
  if (!running) return;
  recorder.capture().output = result;
  recorder.capture().arguments = arguments.by_name;
}

}  // namespace modulize
