#include "bridge/record/calls.h"

#include "bridge/python/errors.h"
#include "bridge/record/training_flag.h"

namespace modulize {

NodeId add_call(Recorder& recorder, PyObject* callable, const CallName& name, PyObject* args, PyObject* kwargs) {
  Node node;
  switch (name.form) {
    case CallForm::function:
      node.op = Opcode::call_function;
      node.target = name.name;
      break;
    case CallForm::method:
      node.op = Opcode::call_method;
      node.target = name.name;
      break;
    case CallForm::getter:
      node.op = Opcode::call_function;
      node.target = "builtins.getattr";
      break;
    case CallForm::setter:
      node.op = Opcode::call_function;
      node.target = "builtins.setattr";
      break;
    case CallForm::opaque:
      node.op = Opcode::call_function;
      node.callee = recorder.capture().objects.value(callable);
      break;
  }
  const NodeId begin = static_cast<NodeId>(recorder.graph().id_limit());
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  node.args.reserve(static_cast<std::size_t>(count) + 1);
  for (Py_ssize_t i = 0; i < count; ++i) {
    node.args.push_back(recorder.to_value(PyTuple_GET_ITEM(args, i)));
    if (i == 0 && (name.form == CallForm::getter || name.form == CallForm::setter))
      node.args.push_back(Value::string(name.name));
  }
  // A getter's wrapper is called with (instance,) or (instance, owner).
  if (name.form == CallForm::getter) node.args.resize(2);
  if (kwargs) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      node.kwargs.emplace_back(nb::cast<std::string>(nb::handle(key)),
                               PyUnicode_CompareWithASCIIString(key, "training") == 0
                                   ? flag_value(recorder, value, begin)
                                   : recorder.to_value(value));
  }
  recorder.decisions().require_known(node);
  return recorder.add_node(std::move(node));
}

}  // namespace modulize
