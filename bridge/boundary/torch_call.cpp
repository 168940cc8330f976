// Recorder::torch_call: a call that torch dispatched to us.
#include <algorithm>
#include <utility>

#include "bridge/boundary/written_memory.h"
#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"
#include "bridge/record/regions.h"
#include "ir/control.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

bool reads_value(const CallName& name) { return name.tells == Tells::value; }

bool gives_pieces(const CallName& name) { return name.tells == Tells::pieces; }

bool answers_by_value(const CallName& name) { return name.tells == Tells::answer || name.tells == Tells::value; }

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

}  // namespace

PyObject* Recorder::torch_call(PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName name = FunctionNames::instance().find(function);
  PauseFlag quiet(*this);

  // Calls that are about Python, not about the computation.
  if (name.form == CallForm::method) {
    const std::string& m = name.name;
    if (m == "__repr__" || m == "__str__" || m == "__format__" || m == "__hash__" || m == "__dir__" ||
        m == "__reduce_ex__" || m == "is_shared")
      return PyObject_Call(function, args, kwargs);
    if (mode_ == CaptureMode::running) {
      if (m == "__bool__") {
        PyObject* tensor = PyTuple_GET_ITEM(args, 0);
        const Value value = tensor_value(tensor);
        nb::object natural;
        if (nb::cast<bool>(nb::handle(tensor).attr("is_meta"))) {
          natural = nb::bool_(true);  // there is no value: both sides are explored all the same
        } else {
          natural = nb::steal(PyObject_Call(function, args, kwargs));
          if (!natural.is_valid()) return nullptr;
        }
        return PyBool_FromLong(decide(value.as_node(), natural.ptr() == Py_True));
      }
      if (hands_memory_out(name) || m == "__int__" || m == "__float__" || m == "__index__" || m == "__complex__")
        refuse_control_flow("Tensor." + m + "()");
    }
  }
  if (name.name == "torch._C._set_grad_enabled" || name.name == "torch._assert") {
    if (name.name == "torch._assert" && PyTuple_GET_SIZE(args) > 0 && PyTuple_GET_ITEM(args, 0) == Py_True)
      return PyObject_Call(function, args, kwargs);
  }
  if (PyCFunction_Check(function) && name.name.ends_with("_set_grad_enabled") && PyTuple_GET_SIZE(args) == 1) {
    regions->set_gradients(to_value(PyTuple_GET_ITEM(args, 0)));
    return PyObject_Call(function, args, kwargs);
  }

  refuse_function_transforms(*this);
  const NodeId first = static_cast<NodeId>(graph().id_limit());
  const bool excluded = !excluded_functions.empty() && excluded_functions.contains(function);
  if (mode_ == CaptureMode::symbolic) {
    const NodeId node = add_call(function, excluded ? CallName{} : name, args, kwargs);
    return make_proxy(node);
  }
  try {
    if (name.may_raise) require_uncaught("a call that may raise by a value", true);
    NodeId node = add_call(function, excluded ? CallName{} : name, args, kwargs);
    if (name.in_place && narrows(graph()[node], args)) node = write_back(node);
    if (name.in_place && PyTuple_GET_SIZE(args) > 0) refuse_write_of_checkpointed(PyTuple_GET_ITEM(args, 0));
    before_write(*this, name, args, kwargs, true);
    nb::object result = nb::steal(PyObject_Call(function, args, kwargs));
    if (!result.is_valid()) {
      nb::python_error raised;
      require_uncaught("a call that raises", false);
      rollback(first);
      raised.restore();
      return nullptr;
    }
    if (result.is(nb::handle(Py_NotImplemented))) {
      rollback(first);
      return result.release().ptr();
    }
    if (reads_value(name)) mark_read_from_value(node);
    if (PyBool_Check(result.ptr()) && answers_by_value(name)) {
      graph()[node].type = ValueType::number;
      return PyBool_FromLong(decide(node, result.ptr() == Py_True));
    }
    if (PyBool_Check(result.ptr()) && name.tells == Tells::kind) {
      graph()[node].type = ValueType::number;
      add_check_here(node, Value::boolean(result.ptr() == Py_True), "the answer of " + name.name);
      return result.release().ptr();
    }
    if (result.is_none() && name.tells == Tells::answer) {
      // `y.grad_fn is None`: Python asks nobody. On the other side there is something of which nothing is known.
      const NodeId is_none = add_function("operator.is_", {Value::node(node), Value::none()}, ValueType::number);
      if (decide(is_none, true)) return result.release().ptr();
      return PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
    }
    // Before the pieces are taken out, which fewer of them would not allow.
    if (gives_pieces(name) && PyTuple_Check(result.ptr())) note_iteration(node, PyTuple_GET_SIZE(result.ptr()));
    return wrap_result(result.ptr(), node, name.in_place);
  } catch (...) {
    rollback(first);
    throw;
  }
}

// `half += float32` computes in float32 and stays float16. The module that takes the place of `add_` would yield
// float32, so the two steps are recorded as what they are: %add = add(%x, %y), then copy_(%x, %add).
NodeId Recorder::write_back(NodeId in_place) {
  Node& computed = graph()[in_place];
  computed.target.pop_back();
  computed.type = ValueType::tensor;
  Node copy;
  copy.op = Opcode::call_method;
  copy.target = "copy_";
  copy.args = {computed.args[0], Value::node(in_place)};
  return add_node(std::move(copy));
}

}  // namespace modulize
