#include "bridge/boundary/torch_call.h"

#include <frameobject.h>

#include <algorithm>
#include <utility>

#include "bridge/boundary/call_outside.h"
#include "bridge/boundary/without_values.h"
#include "bridge/boundary/written_memory.h"
#include "bridge/python/errors.h"
#include "bridge/record/calls.h"
#include "bridge/record/checks.h"
#include "bridge/record/proxy.h"
#include "bridge/record/stand_ins.h"
#include "ir/control.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

// An in-place method (`add_`) that computes in another dtype than that of the tensor it writes.
bool narrows(const Node& node, PyObject* args) {
  if (node.op != Opcode::call_method || PyTuple_GET_SIZE(args) < 2) return false;
  const TorchTypes& torch = TorchTypes::instance();
  PyObject *const self = PyTuple_GET_ITEM(args, 0), *const other = PyTuple_GET_ITEM(args, 1);
  if (!torch.is_tensor(self) || !torch.is_tensor(other)) return false;
  static PyObject* const dtype = PyUnicode_InternFromString("dtype");
  const nb::object own = checked(PyObject_GetAttr(self, dtype)), others = checked(PyObject_GetAttr(other, dtype));
  if (own.is(others)) return false;
  const OpSpelling* spelling = find_op(node);
  if (!spelling || !spelling->writes_first || spelling->op->row->random) return false;
  Node out_of_place;
  out_of_place.op = Opcode::call_method;
  out_of_place.target = node.target.substr(0, node.target.size() - 1);
  const OpSpelling* plain = find_op(out_of_place);
  return plain && plain->op == spelling->op &&
         !nb::object(nb::module_::import_("torch").attr("result_type")(nb::handle(self), nb::handle(other))).is(own);
}

// `half += float32` computes in float32 and stays float16. The module that takes the place of `add_` would yield
// float32, so the two steps are recorded as what they are: %add = add(%x, %y), then copy_(%x, %add).
NodeId write_back(Recorder& recorder, NodeId in_place) {
  Node& computed = recorder.graph()[in_place];
  computed.target.pop_back();
  computed.type = ValueType::tensor;
  Node copy;
  copy.op = Opcode::call_method;
  copy.target = "copy_";
  copy.args = {computed.args[0], Value::node(in_place)};
  return recorder.add_node(std::move(copy));
}

/// Tensor.__bool__.
PyObject* truth_of(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs) {
  PyObject* const tensor = PyTuple_GET_ITEM(args, 0);
  const Value value = recorder.to_value(tensor);
  if (nb::cast<bool>(nb::handle(tensor).attr("is_meta")))
    return PyBool_FromLong(recorder.decisions().decide_unknown(value.as_node()));
  nb::object natural;
  if (StandIns* const stand_ins = recorder.settings.stand_ins; stand_ins && stand_ins->is_one(tensor)) {
    const std::optional<bool> known = recorder.decisions().known_outcome();
    if (!known) stand_ins->demand("the truth of a tensor");
    natural = nb::bool_(*known);
  } else {
    natural = nb::steal(PyObject_Call(function, args, kwargs));
    if (!natural.is_valid()) return nullptr;
  }
  return PyBool_FromLong(recorder.decisions().decide(value.as_node(), natural.ptr() == Py_True));
}

/// Pieces that Python takes one by one: it knows their number then.
void note_iteration(Recorder& recorder, NodeId node, Py_ssize_t count) {
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return;
  nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  auto* c = reinterpret_cast<PyCodeObject*>(code.ptr());
  const bool by_loop = PyUnicode_CompareWithASCIIString(c->co_name, "__iter__") == 0 && !is_user_code(c);
  Places& places = recorder.places();
  const SourceId source = places.current();
  if (source == kNoSource) return;
  // `a, b = x` raises by itself where there are more or fewer.
  static PyObject* const helper =
      nb::object(nb::module_::import_("modulize._engine").attr("is_unpacked")).release().ptr();
  const CodeSite& site = places.site(source);
  if (nb::cast<bool>(nb::handle(helper)(nb::handle(reinterpret_cast<PyObject*>(site.code)), site.lasti, !by_loop)))
    return;
  const NodeId length = recorder.add_function("builtins.len", {Value::node(node)}, ValueType::number);
  recorder.add_function(std::string(kLeak),
                        {Value::node(length), Value::integer(count), Value::string("the number of pieces"),
                         Value::string(places.where(source))},
                        ValueType::other);
}

/// What forward gets of what the call of `node` has yielded: what Python learns by it is a decision, a check or a leak.
PyObject* told(Recorder& recorder, const CallName& name, NodeId node, nb::object result) {
  const bool is_bool = PyBool_Check(result.ptr());
  if (name.tells == Tells::value) recorder.origins().mark_from_value(node);
  if (is_bool && (name.tells == Tells::answer || name.tells == Tells::value)) {
    recorder.graph()[node].type = ValueType::number;
    return PyBool_FromLong(recorder.decisions().decide(node, result.ptr() == Py_True));
  }
  if (is_bool && name.tells == Tells::kind) {
    recorder.graph()[node].type = ValueType::number;
    add_check_here(recorder, node, Value::boolean(result.ptr() == Py_True), "the answer of " + name.name);
    return result.release().ptr();
  }
  if (result.is_none() && name.tells == Tells::answer) {
    // `y.grad_fn is None`: Python asks nobody. On the other side there is something of which nothing is known.
    const NodeId is_none = recorder.add_function("operator.is_", {Value::node(node), Value::none()}, ValueType::number);
    if (recorder.decisions().decide(is_none, true)) return result.release().ptr();
    return PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  }
  // Before the pieces are taken out, which fewer of them would not allow.
  if (name.tells == Tells::pieces && PyTuple_Check(result.ptr()))
    note_iteration(recorder, node, PyTuple_GET_SIZE(result.ptr()));
  return recorder.wrap_result(result.ptr(), node, name.in_place);
}

/// A new reference, or null with a Python error set.
PyObject* run(Recorder& recorder, const CallName& name, PyObject* function, PyObject* args, PyObject* kwargs) {
  StandIns* const stand_ins = recorder.settings.stand_ins;
  if (!stand_ins) return PyObject_Call(function, args, kwargs);
  PyObject* const result = stand_ins->call(function, name, args, kwargs);
  if (PyTuple_GET_SIZE(args) > 0 && (name.in_place || name.form == CallForm::setter))
    stand_ins->forget(PyTuple_GET_ITEM(args, 0));
  return result;
}

/// Records the call and runs it.
PyObject* run_recorded(Recorder& recorder, const CallName& name, const CallName& recorded, PyObject* function,
                       PyObject* args, PyObject* kwargs) {
  const NodeId first = static_cast<NodeId>(recorder.graph().id_limit());
  try {
    if (name.may_raise) recorder.decisions().require_uncaught("a call that may raise by a value", true);
    NodeId node = add_call(recorder, function, recorded, args, kwargs);
    if (name.in_place && narrows(recorder.graph()[node], args)) node = write_back(recorder, node);
    if (name.in_place && PyTuple_GET_SIZE(args) > 0) recorder.checkpointed().refuse_write(PyTuple_GET_ITEM(args, 0));
    before_write(recorder, name, args, kwargs, true);
    nb::object result = nb::steal(run(recorder, recorded, function, args, kwargs));
    if (!result.is_valid()) {
      if (PyObject* const unknown = answer_without_values(recorder, name, node, args, kwargs)) return unknown;
      refuse_without_values(recorder, name, args, kwargs);
      drop_raised(recorder, first);
      return nullptr;
    }
    if (result.is(nb::handle(Py_NotImplemented))) {
      recorder.rollback(first);
      return result.release().ptr();
    }
    return told(recorder, name, node, std::move(result));
  } catch (...) {
    recorder.rollback(first);
    throw;
  }
}

}  // namespace

PyObject* torch_call(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName name = FunctionNames::instance().find(function);
  const PauseFlag quiet(recorder);
  const bool is_method = name.form == CallForm::method;
  if (is_method && name.tells == Tells::object) {
    if (StandIns* const stand_ins = recorder.settings.stand_ins)
      stand_ins->require_values(args, kwargs, false, "Tensor." + name.name);
    return PyObject_Call(function, args, kwargs);
  }
  if (recorder.mode() == CaptureMode::running) {
    if (is_method && name.name == "__bool__") return truth_of(recorder, function, args, kwargs);
    if (is_method && name.tells == Tells::plain && is_without_values(args, nullptr))
      recorder.decisions().refuse_without_values("Tensor." + name.name + "()");
    if (hands_memory_out(name) || (is_method && name.tells == Tells::plain))
      recorder.decisions().refuse_control_flow("Tensor." + name.name + "()");
  }
  if (name.name == "torch._assert" && PyTuple_GET_SIZE(args) > 0 && PyTuple_GET_ITEM(args, 0) == Py_True)
    return PyObject_Call(function, args, kwargs);
  if (PyCFunction_Check(function) && name.name.ends_with("_set_grad_enabled") && PyTuple_GET_SIZE(args) == 1) {
    recorder.regions().set_gradients(recorder.to_value(PyTuple_GET_ITEM(args, 0)));
    return PyObject_Call(function, args, kwargs);
  }
  refuse_function_transforms(recorder);
  static const CallName kOpaque;
  const CallName& recorded = recorder.settings.excluded_functions.contains(function) ? kOpaque : name;
  if (recorder.mode() == CaptureMode::symbolic)
    return make_proxy(recorder, add_call(recorder, function, recorded, args, kwargs));
  return run_recorded(recorder, name, recorded, function, args, kwargs);
}

void before_unrecorded_call(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName& name = FunctionNames::instance().find(function);
  if (name.form == CallForm::function || name.form == CallForm::method)
    before_write(recorder, name, args, kwargs, false);
}

}  // namespace modulize
