// Recorder::to_value: what a Python object is as an argument of a node.
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/function_names.h"
#include "bridge/record/modules.h"
#include "bridge/record/proxy.h"

namespace modulize {

// The hooks of the root run before forward does, as the old torch.nn.utils.weight_norm: what they may set is read at
// every call, and no module can hold it.
bool Recorder::may_be_set_by_hooks(PyObject* tensor, const std::string& path) {
  PyObject* root = scan_.modules.front().module;
  PyObject** dict = _PyObject_GetDictPtr(root);
  return dict && *dict && PyDict_GetItemString(*dict, path.c_str()) == tensor && has_hooks(root);
}

Value Recorder::tensor_value(PyObject* tensor) {
  if (const NodeId node = origins_.of_tensor(tensor); node != kNoNode) return Value::node(node);
  if (const NodeId node = given_.node_of_tensor(tensor); node != kNoNode) return Value::node(node);
  const auto describe = [&](const std::string& path, TensorKind kind) {
    if (graph().modules.find_tensor(path)) return;
    const PauseFlag quiet(*this);
    nb::handle t(tensor);
    TensorSpec spec;
    spec.path = path;
    spec.kind = kind;
    spec.dtype = text_of(t.attr("dtype")).substr(6);  // without "torch."
    nb::object shape = t.attr("shape");
    for (nb::handle n : shape) spec.shape.push_back(nb::cast<std::int64_t>(n));
    graph().modules.add_tensor(std::move(spec));
  };
  Node node;
  node.op = Opcode::get_attr;
  node.type = ValueType::tensor;
  const TorchTypes& torch = TorchTypes::instance();
  if (const auto it = scan_.tensors.find(tensor); it != scan_.tensors.end()) {
    if (may_be_set_by_hooks(tensor, it->second)) {
      return Value::node(add_function("builtins.getattr", {Value::node(root_module(*this)), Value::string(it->second)},
                                      ValueType::tensor));
    }
    const bool parameter = Py_TYPE(tensor) == torch.parameter || PyType_IsSubtype(Py_TYPE(tensor), torch.parameter);
    const Pause quiet(*this);
    describe(it->second, parameter ? TensorKind::parameter : TensorKind::buffer);
    node.target = it->second;
  } else {
    // Nothing recorded made it and no module holds it: a closure's or a global's constant.
    std::string& name = origins_.constant(tensor);
    if (name.empty()) {
      name = "_tensor_constant" + std::to_string(capture_.constants.size());
      capture_.constants.emplace(name, nb::borrow(tensor));
      const Pause quiet(*this);
      describe(name, TensorKind::constant);
    }
    node.target = name;
  }
  return Value::node(add_node(std::move(node)));
}

NodeId Recorder::node_of(PyObject* object) {
  const TorchTypes& torch = TorchTypes::instance();
  if (torch.is_tensor(object)) return origins_.of_tensor(object);
  NumberOrigin origin;
  if (traced_origin(object, &origin)) {
    if (origin.capture != origins_.capture()) return kNoNode;
    return origin.index < 0 ? origin.node : element(origin.node, origin.index);
  }
  return proxy_node(object, *this);
}

NodeId Recorder::whole_sequence(PyObject* sequence) {
  // `torch.stack(x.unbind(0))` passes on whatever number of pieces there is: the sequence itself is the argument.
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
  NodeId source = kNoNode;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(sequence, i);
    NumberOrigin origin;
    NodeId from = kNoNode;
    if (traced_origin(item, &origin)) {
      if (origin.capture != origins_.capture() || origin.index != i) return kNoNode;
      from = origin.node;
    } else {
      NodeId node = kNoNode;
      if (TorchTypes::instance().is_tensor(item))
        node = origins_.of_tensor(item);
      else if (PyTuple_CheckExact(item) || PyList_CheckExact(item))
        node = PySequence_Fast_GET_SIZE(item) > 0 ? whole_sequence(item) : kNoNode;
      else if (objects_.knows(item))
        if (const std::optional<Value> known = objects_.find(item)) node = known->as_node();
      if (node == kNoNode) return kNoNode;
      const Node& getitem = graph()[node];
      if (getitem.target != "operator.getitem" || getitem.args.size() != 2 || !getitem.args[0].is_node() ||
          !(getitem.args[1] == Value::integer(i)))
        return kNoNode;
      from = getitem.args[0].as_node();
    }
    if (from == kNoNode || (source != kNoNode && from != source)) return kNoNode;
    source = from;
  }
  const Origins::Sequence* const known = origins_.sequence(source);
  return known && known->length == count && known->type == Py_TYPE(sequence) ? source : kNoNode;
}

NodeId Recorder::element(NodeId node, std::int32_t index) {
  if (const NodeId known = origins_.element(node, index); known != kNoNode) return known;
  const NodeId made = add_function("operator.getitem", {Value::node(node), Value::integer(index)}, ValueType::number);
  if (origins_.is_from_value(Value::node(node))) origins_.mark_from_value(made);
  origins_.note_element(node, index, made);
  return made;
}

Value Recorder::to_value(PyObject* object) {
  if (object == Py_None) return Value::none();
  if (object == Py_True) return Value::boolean(true);
  if (object == Py_False) return Value::boolean(false);
  if (object == Py_Ellipsis) return Value::ellipsis();
  const TorchTypes& torch = TorchTypes::instance();
  PyTypeObject* type = Py_TYPE(object);
  if (type == torch.tensor || PyType_IsSubtype(type, torch.tensor_base)) return tensor_value(object);
  NumberOrigin origin;
  if (traced_origin(object, &origin) && origin.capture == origins_.capture())
    return Value::node(origin.index < 0 ? origin.node : element(origin.node, origin.index));
  if (PyLong_Check(object) && (type == &PyLong_Type || traced_origin(object, &origin))) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) return capture_.objects.value(object);
    return Value::integer(value);
  }
  if (PyFloat_Check(object)) return Value::floating(PyFloat_AS_DOUBLE(object));  // numpy.float64 is one too
  if (type == &PyUnicode_Type) {
    if (const NodeId read = origins_.of_object(object); read != kNoNode) return Value::node(read);
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size);
    if (!text) {
      PyErr_Clear();  // lone surrogates: kept as an object
      return capture_.objects.value(object);
    }
    return Value::string(std::string(text, static_cast<std::size_t>(size)));
  }
  if (const NodeId node = proxy_node(object, *this); node != kNoNode) return Value::node(node);
  if (!objects_.empty())
    if (const std::optional<Value> known = objects_.find(object)) return *known;
  if (objects_.keeps_identity() && mode_ == CaptureMode::running && (type == &PyList_Type || type == &PyDict_Type)) {
    const NodeId whole = type == &PyList_Type && PyList_GET_SIZE(object) > 0 ? whole_sequence(object) : kNoNode;
    return whole != kNoNode ? Value::node(whole) : objects_.rebuild(object);
  }
  if (PyTuple_Check(object) &&
      (type == &PyTuple_Type || type == torch.size || !PyObject_HasAttrString(object, "_fields"))) {
    if (mode_ == CaptureMode::running && PyTuple_GET_SIZE(object) > 0)
      if (const NodeId whole = whole_sequence(object); whole != kNoNode) return Value::node(whole);
    ValueList items;
    items.reserve(static_cast<std::size_t>(PyTuple_GET_SIZE(object)));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) items.push_back(to_value(PyTuple_GET_ITEM(object, i)));
    return Value::tuple(std::move(items));
  }
  if (type == &PyList_Type) {
    if (mode_ == CaptureMode::running && PyList_GET_SIZE(object) > 0)
      if (const NodeId whole = whole_sequence(object); whole != kNoNode) return Value::node(whole);
    ValueList items;
    items.reserve(static_cast<std::size_t>(PyList_GET_SIZE(object)));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i) items.push_back(to_value(PyList_GET_ITEM(object, i)));
    return Value::list(std::move(items));
  }
  if (type == &PyDict_Type) {
    ValueDict items;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);) items.emplace_back(to_value(key), to_value(value));
    return Value::dict(std::move(items));
  }
  if (PySlice_Check(object)) {
    auto* slice = reinterpret_cast<PySliceObject*>(object);
    Value start = to_value(slice->start), stop = to_value(slice->stop);
    return Value::slice(std::move(start), std::move(stop), to_value(slice->step));
  }
  if (type == torch.dtype && mode_ == CaptureMode::running)
    if (const NodeId read = dtypes_.as_argument(object); read != kNoNode) return Value::node(read);
  if (type == torch.dtype || type == torch.layout || type == torch.memory_format) {
    nb::object text = checked(PyObject_Repr(object));
    return Value::name(nb::cast<std::string>(text));
  }
  if (type == torch.device) {
    if (const NodeId read = origins_.of_object(object); read != kNoNode) return Value::node(read);
    return capture_.objects.value(object);
  }
  if (const NodeId node = given_.node_of(object); node != kNoNode) return Value::node(node);
  if (objects_.needs_rebuilding(object)) return objects_.rebuild(object);
  // numpy's integers count as the ints they stand for.
  if (PyIndex_Check(object) && !PyLong_Check(object)) {
    nb::object plain = nb::steal(PyNumber_Index(object));
    if (plain.is_valid()) return to_value(plain.ptr());
    PyErr_Clear();
  }
  if (PyCallable_Check(object)) {
    const CallName& name = FunctionNames::instance().find(object);
    if (name.form == CallForm::function) return Value::name(name.name);
  }
  if (const NodeId read = origins_.of_object(object); read != kNoNode) return Value::node(read);
  // A method that is kept whole takes the module of the prepared model.
  if (const std::string* path = mode_ == CaptureMode::running ? scan_.path_of(object) : nullptr)
    return Value::node(module_node(*this, *path, object));
  return capture_.objects.value(object);
}

}  // namespace modulize
