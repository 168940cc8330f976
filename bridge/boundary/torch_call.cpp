// Recorder::torch_call: a call that torch dispatched to us.
#include <algorithm>
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"
#include "bridge/record/regions.h"
#include "ir/control.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

// Calls whose result is a Python value read out of a tensor's data.
bool reads_value(const CallName& name) {
  return name.form == CallForm::method &&
         (name.name == "item" || name.name == "tolist" || name.name == "__int__" || name.name == "__float__" ||
          name.name == "__index__" || name.name == "__complex__");
}

// Calls that give as many tensors as there are rows, or as fit.
bool gives_pieces(const CallName& name) {
  static constexpr std::string_view kNames[] = {"unbind",           "split",        "chunk",        "tensor_split",
                                                "split_with_sizes", "unsafe_split", "unsafe_chunk", "hsplit",
                                                "vsplit",           "dsplit"};
  std::string_view text = name.name;
  if (name.form == CallForm::function && text.starts_with("torch.")) text.remove_prefix(6);
  return std::find(std::begin(kNames), std::end(kNames), text) != std::end(kNames);
}

// Calls whose result is a Python bool that may be another one in another call: it depends on a tensor's data, on how it
// lies in memory, or on where the model runs.
bool answers_by_value(const CallName& name) {
  if (name.form == CallForm::method)
    return name.name == "item" || name.name == "__contains__" || name.name == "equal" || name.name == "allclose" ||
           name.name == "is_nonzero" || name.name == "is_contiguous" || name.name == "isclose";
  if (name.form == CallForm::getter) return name.name == "requires_grad" || name.name == "is_cuda";
  return name.form == CallForm::function &&
         (name.name == "torch.equal" || name.name == "torch.allclose" || name.name == "torch.is_nonzero");
}

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

PyObject* Recorder::run(PyObject* function, PyObject* args, PyObject* kwargs) {
  return PyObject_Call(function, args, kwargs);
}

PyObject* Recorder::torch_call(PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName name = FunctionNames::instance().find(function);
  PauseFlag quiet(*this);

  // Calls that are about Python, not about the computation.
  if (name.form == CallForm::method) {
    const std::string& m = name.name;
    if (m == "__repr__" || m == "__str__" || m == "__format__" || m == "__hash__" || m == "__dir__" ||
        m == "__reduce_ex__" || m == "is_shared")
      return run(function, args, kwargs);
    if (mode_ == CaptureMode::running) {
      if (m == "__bool__") {
        PyObject* tensor = PyTuple_GET_ITEM(args, 0);
        const Value value = tensor_value(tensor);
        nb::object natural;
        if (nb::cast<bool>(nb::handle(tensor).attr("is_meta"))) {
          natural = nb::bool_(true);  // there is no value: both sides are explored all the same
        } else {
          natural = nb::steal(run(function, args, kwargs));
          if (!natural.is_valid()) return nullptr;
        }
        return PyBool_FromLong(decide(value.as_node(), natural.ptr() == Py_True));
      }
      if (m == "numpy" || m == "__array__" || m == "__int__" || m == "__float__" || m == "__index__" ||
          m == "__complex__")
        refuse_control_flow("Tensor." + m + "()");
    }
  }
  if (name.name == "torch._C._set_grad_enabled" || name.name == "torch._assert") {
    if (name.name == "torch._assert" && PyTuple_GET_SIZE(args) > 0 && PyTuple_GET_ITEM(args, 0) == Py_True)
      return run(function, args, kwargs);
  }
  if (PyCFunction_Check(function) && name.name.ends_with("_set_grad_enabled") && PyTuple_GET_SIZE(args) == 1) {
    regions->set_gradients(to_value(PyTuple_GET_ITEM(args, 0)));
    return run(function, args, kwargs);
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
    save_before_writes(name, args, kwargs);
    nb::object result = nb::steal(run(function, args, kwargs));
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
    if (reads_value(name)) {
      if (from_value_.size() <= node) from_value_.resize(node + 1, false);
      from_value_[node] = true;
    }
    if (PyBool_Check(result.ptr()) && answers_by_value(name)) {
      graph()[node].type = ValueType::number;
      return PyBool_FromLong(decide(node, result.ptr() == Py_True));
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
