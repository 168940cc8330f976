#include "bridge/boundary/opaque_call.h"

#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/calls.h"
#include "bridge/record/modules.h"
#include "bridge/record/training_flag.h"

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

PyObject* opaque_call(Recorder& recorder, CallKind kind, PyObject* function, PyObject* args, PyObject* kwargs,
                      const char* kept) {
  CallName name = FunctionNames::instance().find(function);
  if (name.form == CallForm::method) name = CallName{};  // only functions come here
  if (kept) note_kept(recorder, name.form == CallForm::function ? name.name : name_of(function), kept);
  if (recorder.settings.excluded_functions.contains(function)) name = CallName{};
  OutsideCall call{kind, args, kwargs};
  if (kept) call.callee = text_of(nb::getattr(function, "__qualname__", nb::none()));
  if (row_of(kind).contract.notes_sites) call.region = recorder.places().scope_path() + "|" + function_label(function);
  bool is_read_from_value = false;
  call.add = [&] {
    const NodeId first = static_cast<NodeId>(recorder.graph().id_limit());
    // stochastic_depth(x, p, "row", self.training): the one bool among the arguments is the flag just read.
    std::size_t flags = 0, position = 0;
    Value flag;
    for (Py_ssize_t i = 0; recorder.origins().flag.module && i < PyTuple_GET_SIZE(args); ++i)
      if (PyBool_Check(PyTuple_GET_ITEM(args, i))) ++flags, position = static_cast<std::size_t>(i);
    if (flags == 1) flag = flag_value(recorder, PyTuple_GET_ITEM(args, static_cast<Py_ssize_t>(position)), first);
    const NodeId node = add_call(recorder, function, name, args, kwargs);
    if (flags == 1) recorder.graph()[node].args[position] = flag;
    for (const Value& argument : recorder.graph()[node].args)
      is_read_from_value |= recorder.origins().is_from_value(argument);
    if (kind == CallKind::draw || (kind == CallKind::number_function && is_read_from_value))
      recorder.origins().mark_from_value(node);
    return node;
  };
  call.run = [&] { return PyObject_Call(function, args, kwargs); };
  return call_outside(recorder, call);
}

}  // namespace modulize
