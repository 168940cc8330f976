// Recorder::opaque_call: a Python function that stays one node, and what it yields.
#include <utility>

#include "bridge/boundary/call_outside.h"
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

PyObject* Recorder::opaque_call(CallKind kind, PyObject* function, PyObject* args, PyObject* kwargs, const char* kept) {
  CallName name = FunctionNames::instance().find(function);
  if (name.form == CallForm::method) name = CallName{};  // only functions come here
  if (kept) keep(name.form == CallForm::function ? name.name : name_of(function), kept);
  if (excluded_functions.contains(function)) name = CallName{};
  OutsideCall call{kind, args, kwargs};
  if (kept) call.callee = text_of(nb::getattr(function, "__qualname__", nb::none()));
  if (row_of(kind).contract.notes_sites) call.region = scope_path() + "|" + function_label(function);
  bool is_read_from_value = false;
  call.add = [&] {
    const NodeId first = static_cast<NodeId>(graph().id_limit());
    // stochastic_depth(x, p, "row", self.training): the one bool among the arguments is the flag just read.
    std::size_t flags = 0, position = 0;
    Value flag;
    for (Py_ssize_t i = 0; training_read_ && i < PyTuple_GET_SIZE(args); ++i)
      if (PyBool_Check(PyTuple_GET_ITEM(args, i))) ++flags, position = static_cast<std::size_t>(i);
    if (flags == 1) flag = mode_flag(PyTuple_GET_ITEM(args, static_cast<Py_ssize_t>(position)), first);
    const NodeId node = add_call(function, name, args, kwargs);
    if (flags == 1) graph()[node].args[position] = flag;
    for (const Value& argument : graph()[node].args) is_read_from_value |= is_from_value(argument);
    if (kind == CallKind::draw || (kind == CallKind::number_function && is_read_from_value)) mark_read_from_value(node);
    return node;
  };
  call.run = [&] { return PyObject_Call(function, args, kwargs); };
  return call_outside(*this, call);
}

}  // namespace modulize
