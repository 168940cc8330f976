#include "bridge/record/training_flag.h"

#include <utility>

#include "bridge/record/modules.h"

namespace modulize {

namespace {

/// The flag as the module holds it, past the descriptor that notes reads. Borrowed, may be null.
PyObject* held_flag(PyObject* module) {
  PyObject** slot = _PyObject_GetDictPtr(module);
  return slot && *slot ? PyDict_GetItemString(*slot, "training") : nullptr;
}

}  // namespace

void note_training_read(Recorder& recorder, PyObject* module) {
  const std::string* path = recorder.scan().path_of(module);
  if (!path) return;
  settle_training_read(recorder);
  use_module(recorder, *path, module);
  Node read;
  read.op = Opcode::get_attr;
  read.type = ValueType::number;
  read.target = path->empty() ? "training" : *path + ".training";
  const NodeId node = recorder.add_node(std::move(read));
  recorder.origins().flag = {module, node};
}

void settle_training_read(Recorder& recorder) {
  const Origins::Flag read = std::exchange(recorder.origins().flag, {});
  PyObject* const flag = read.module ? held_flag(read.module) : nullptr;
  if (!flag) return;
  const Node& node = recorder.graph()[read.node];
  recorder.capture().mode_reads.push_back({node.target, flag == Py_True, recorder.places().where(node.source)});
}

Value flag_value(Recorder& recorder, PyObject* flag, NodeId call_begin) {
  // `F.dropout(x, p, self.training)` arrives with a plain bool, which would freeze the mode: it is the flag that traced
  // code has just read, if nothing was recorded since.
  const Origins::Flag read = recorder.origins().flag;
  if (!read.module || !PyBool_Check(flag) || read.node + 1 != call_begin || held_flag(read.module) != flag)
    return recorder.to_value(flag);
  recorder.origins().flag = {};
  return Value::node(read.node);
}

}  // namespace modulize
