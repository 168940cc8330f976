// Recorder::opaque_call: a Python function that stays one node, and what it yields.
#include <utility>

#include "bridge/boundary/seen_whole.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "bridge/values/structure.h"
#include "ir/control.h"

namespace modulize {

namespace {

/// "package.module.Class.method", without an address; the class where the object has no name.
std::string name_of(nb::handle function) {
  nb::object named = nb::borrow(function);
  if (!nb::hasattr(named, "__qualname__")) named = nb::borrow(named.type());
  const nb::object qualified = named.attr("__qualname__"), module = nb::getattr(named, "__module__", nb::none());
  return nb::isinstance<nb::str>(module) ? text_of(module) + "." + text_of(qualified) : text_of(qualified);
}

/// The same in every capture of a model.
std::string function_label(PyObject* function) {
  nb::object code = nb::getattr(function, "__code__", nb::none());
  const std::string name = text_of(nb::getattr(function, "__qualname__", nb::none()));
  return code.is_none() ? name : name + ":" + text_of(nb::object(code.attr("co_firstlineno")));
}

}  // namespace

void Recorder::check_structure_made(nb::handle structure, NodeId value, const std::string& text) {
  add_function(std::string(kCheckMade), {Value::node(value), capture_.objects.value(structure), Value::string(text)},
               ValueType::other);
}

void Recorder::check_made(nb::handle value, NodeId node, const std::string& text, bool follows_numbers) {
  const MadeStructure made = structure_of_made(value, follows_numbers);
  if (!made.hidden.empty()) refuse_control_flow("what Python does with the " + made.hidden + " in " + text);
  check_structure_made(made.structure, node, text);
  const auto node_at = [&](const std::vector<Part>& path) {
    NodeId at = node;
    for (const Part& part : path) at = objects_.part_node(at, part);
    return at;
  };
  for (const auto& [path, object] : made.with_plain_numbers)
    add_function(std::string(kLeak),
                 {Value::node(node_at(path)), capture_.objects.value(structure_of(object)), Value::string(text)},
                 ValueType::other);
  for (const auto& [path, list] : made.lists)
    check_structure_made(structure_of(nb::int_(nb::len(list))),
                         add_function("builtins.len", {Value::node(node_at(path))}, ValueType::number),
                         "the length of " + text);
}

void Recorder::check_yielded(nb::handle result, NodeId node, const std::string& callee, bool is_excluded) {
  if (is_excluded && TorchTypes::instance().is_tensor(result.ptr())) return;
  check_made(result, node, "what " + callee + " yields", true);
}

PyObject* Recorder::opaque_call(PyObject* function, PyObject* args, PyObject* kwargs, const char* kept, bool observes) {
  const NodeId first = static_cast<NodeId>(graph().id_limit());
  CallName name = FunctionNames::instance().find(function);
  if (name.form == CallForm::method) name = CallName{};  // only functions come here
  if (kept) keep(name.form == CallForm::function ? name.name : name_of(function), kept);
  const std::string callee = kept ? text_of(nb::getattr(function, "__qualname__", nb::none())) : "";
  SeenWhole whole(*this, kept != nullptr, args, kwargs, callee);
  if (excluded_functions.contains(function)) name = CallName{};
  require_uncaught("a call that is kept whole", kept == nullptr);
  try {
    const std::string region = observes ? scope_path() + "|" + function_label(function) : "";
    const NodeId sites = observes ? enter_sites(region) : kNoNode;
    // stochastic_depth(x, p, "row", self.training): the one bool among the arguments is the flag just read.
    std::size_t flags = 0, position = 0;
    Value flag;
    for (Py_ssize_t i = 0; training_read_ && i < PyTuple_GET_SIZE(args); ++i)
      if (PyBool_Check(PyTuple_GET_ITEM(args, i))) ++flags, position = static_cast<std::size_t>(i);
    if (flags == 1) flag = mode_flag(PyTuple_GET_ITEM(args, static_cast<Py_ssize_t>(position)), first);
    const NodeId node = add_call(function, name, args, kwargs);
    if (flags == 1) graph()[node].args[position] = flag;
    if (mode_ == CaptureMode::symbolic) return make_proxy(node);
    nb::object result;
    {
      const Observe inside(*this, observes ? &region : nullptr, false);
      result = nb::steal(run(function, args, kwargs));
    }
    if (!result.is_valid()) {
      rollback(first);
      return nullptr;
    }
    if (observes) leave_sites(sites);
    if (kept && PyBool_Check(result.ptr())) {
      graph()[node].type = ValueType::number;
      return PyBool_FromLong(decide(node, result.ptr() == Py_True));
    }
    Pause quiet(*this);
    whole.reread();
    if (kept) check_yielded(result, node, callee, excluded_functions.contains(function));
    return wrap_result(result.ptr(), node, false);
  } catch (...) {
    rollback(first);
    throw;
  }
}

}  // namespace modulize
