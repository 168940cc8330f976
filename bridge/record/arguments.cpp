// Recorder::to_value: what a Python object is as an argument of a node.
#include <frameobject.h>

#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"
#include "ir/control.h"

namespace modulize {

NodeId Recorder::tag_of(PyObject* tensor) {
  PyObject** slot = _PyObject_GetDictPtr(tensor);
  if (!slot || !*slot) return kNoNode;
  PyObject* tag = PyDict_GetItem(*slot, tag_key());
  if (!tag) return kNoNode;
  const unsigned long long bits = PyLong_AsUnsignedLongLong(tag);
  return (bits >> 32) == id_ ? static_cast<NodeId>(bits & 0xffffffffu) : kNoNode;
}

void Recorder::tag(PyObject* tensor, NodeId node) {
  const nb::object bits = checked(PyLong_FromUnsignedLongLong((static_cast<unsigned long long>(id_) << 32) | node));
  PyObject** slot = _PyObject_GetDictPtr(tensor);
  int failed;
  if (slot && *slot)
    failed = PyDict_SetItem(*slot, tag_key(), bits.ptr());
  else
    failed = PyObject_GenericSetAttr(tensor, tag_key(), bits.ptr());
  if (failed) nb::raise_python_error();
}

NodeId Recorder::root_module() {
  Node node;
  node.op = Opcode::get_attr;
  node.type = ValueType::other;
  node.target = "_modulize_module";
  return add_node(std::move(node));
}

NodeId Recorder::module_node(const std::string& path, PyObject* module) {
  use_module(path, module);
  if (path.empty()) return root_module();
  Node node;
  node.op = Opcode::get_attr;
  node.type = ValueType::other;
  node.target = path;
  return add_node(std::move(node));
}

// The hooks of the root run before forward does, as the old torch.nn.utils.weight_norm: what they may set is read at
// every call, and no module can hold it.
bool Recorder::may_be_set_by_hooks(PyObject* tensor, const std::string& path) {
  PyObject* root = scan_.modules.front().module;
  PyObject** dict = _PyObject_GetDictPtr(root);
  return dict && *dict && PyDict_GetItemString(*dict, path.c_str()) == tensor && has_hooks(root);
}

Value Recorder::tensor_value(PyObject* tensor) {
  if (const NodeId node = tag_of(tensor); node != kNoNode) return Value::node(node);
  if (const NodeId node = given.node_of_tensor(tensor); node != kNoNode) return Value::node(node);
  const auto describe = [&](const std::string& path, TensorKind kind) {
    if (graph().modules.find_tensor(path)) return;
    PauseFlag quiet(*this);
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
      return Value::node(
          add_function("builtins.getattr", {Value::node(root_module()), Value::string(it->second)}, ValueType::tensor));
    }
    const bool parameter = Py_TYPE(tensor) == torch.parameter || PyType_IsSubtype(Py_TYPE(tensor), torch.parameter);
    Pause quiet(*this);
    describe(it->second, parameter ? TensorKind::parameter : TensorKind::buffer);
    node.target = it->second;
  } else {
    // Nothing recorded made it and no module holds it: a closure's or a global's constant.
    const auto [at, fresh] = constants_.try_emplace(tensor, "");
    if (fresh) {
      at->second = "_tensor_constant" + std::to_string(capture_.constants.size());
      capture_.constants.emplace(at->second, nb::borrow(tensor));
      Pause quiet(*this);
      describe(at->second, TensorKind::constant);
    }
    node.target = at->second;
  }
  return Value::node(add_node(std::move(node)));
}

NodeId Recorder::node_of(PyObject* object) {
  const TorchTypes& torch = TorchTypes::instance();
  if (torch.is_tensor(object)) return tag_of(object);
  NumberOrigin origin;
  if (traced_origin(object, &origin)) {
    if (origin.capture != id_) return kNoNode;
    return origin.index < 0 ? origin.node : element(origin.node, origin.index);
  }
  return proxy_node(object, *this);
}

bool Recorder::has_origin(PyObject* object) {
  NumberOrigin origin;
  if (traced_origin(object, &origin)) return origin.capture == id_;
  if (is_proxy(object)) return true;
  if (TorchTypes::instance().is_tensor(object) || given.knows(object)) return true;
  if (PyTuple_Check(object)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i)
      if (has_origin(PyTuple_GET_ITEM(object, i))) return true;
  } else if (PyList_Check(object)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i)
      if (has_origin(PyList_GET_ITEM(object, i))) return true;
  } else if (PyDict_Check(object)) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);)
      if (has_origin(value)) return true;
  } else if (PySlice_Check(object)) {
    auto* slice = reinterpret_cast<PySliceObject*>(object);
    return has_origin(slice->start) || has_origin(slice->stop) || has_origin(slice->step);
  }
  return false;
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
      if (origin.capture != id_ || origin.index != i) return kNoNode;
      from = origin.node;
    } else {
      NodeId node = kNoNode;
      if (TorchTypes::instance().is_tensor(item))
        node = tag_of(item);
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
  const auto it = sequences_.find(source);
  return it != sequences_.end() && it->second.length == count && it->second.type == Py_TYPE(sequence) ? source
                                                                                                      : kNoNode;
}

void Recorder::note_iteration(NodeId node, Py_ssize_t count) {
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return;
  nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  auto* c = reinterpret_cast<PyCodeObject*>(code.ptr());
  const bool by_loop = PyUnicode_CompareWithASCIIString(c->co_name, "__iter__") == 0 && !is_user_code(c);
  const SourceId source = current_source();
  if (source == kNoSource) return;
  // `a, b = x` raises by itself where there are more or fewer.
  static PyObject* const helper =
      nb::object(nb::module_::import_("modulize._engine").attr("is_unpacked")).release().ptr();
  const Site& site = sites_[source - 1];
  if (nb::cast<bool>(nb::handle(helper)(nb::handle(reinterpret_cast<PyObject*>(site.code)), site.lasti, !by_loop)))
    return;
  const NodeId length = add_function("builtins.len", {Value::node(node)}, ValueType::number);
  add_function(
      std::string(kLeak),
      {Value::node(length), Value::integer(count), Value::string("the number of pieces"), Value::string(where(source))},
      ValueType::other);
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
  if (traced_origin(object, &origin) && origin.capture == id_)
    return Value::node(origin.index < 0 ? origin.node : element(origin.node, origin.index));
  if (PyLong_Check(object) && (type == &PyLong_Type || traced_origin(object, &origin))) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) return capture_.objects.value(object);
    return Value::integer(value);
  }
  if (PyFloat_Check(object)) return Value::floating(PyFloat_AS_DOUBLE(object));  // numpy.float64 is one too
  if (type == &PyUnicode_Type) {
    if (const auto it = device_types_.find(object); it != device_types_.end()) return Value::node(it->second);
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
    if (const NodeId read = dtypes.as_argument(object); read != kNoNode) return Value::node(read);
  if (type == torch.dtype || type == torch.layout || type == torch.memory_format) {
    nb::object text = checked(PyObject_Repr(object));
    return Value::name(nb::cast<std::string>(text));
  }
  if (type == torch.device) {
    if (const auto it = devices_.find(object); it != devices_.end()) return Value::node(it->second);
    return capture_.objects.value(object);
  }
  if (const NodeId node = given.node_of(object); node != kNoNode) return Value::node(node);
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
  if (const auto it = whole_results_.find(object); it != whole_results_.end() && it->second < graph().id_limit())
    return Value::node(it->second);
  // A method that is kept whole takes the module of the prepared model.
  if (const std::string* path = mode_ == CaptureMode::running ? scan_.path_of(object) : nullptr)
    return Value::node(module_node(*path, object));
  return capture_.objects.value(object);
}

NodeId Recorder::add_call(PyObject* callable, const CallName& name, PyObject* args, PyObject* kwargs) {
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
      node.callee = capture_.objects.value(callable);
      break;
  }
  const NodeId begin = static_cast<NodeId>(graph().id_limit());
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  node.args.reserve(static_cast<std::size_t>(count) + 1);
  for (Py_ssize_t i = 0; i < count; ++i) {
    node.args.push_back(to_value(PyTuple_GET_ITEM(args, i)));
    if (i == 0 && (name.form == CallForm::getter || name.form == CallForm::setter))
      node.args.push_back(Value::string(name.name));
  }
  // A getter's wrapper is called with (instance,) or (instance, owner).
  if (name.form == CallForm::getter) node.args.resize(2);
  if (kwargs) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      node.kwargs.emplace_back(
          nb::cast<std::string>(nb::handle(key)),
          PyUnicode_CompareWithASCIIString(key, "training") == 0 ? mode_flag(value, begin) : to_value(value));
  }
  return add_node(std::move(node));
}

void Recorder::note_device_type(PyObject* device, PyObject* text) {
  const auto it = devices_.find(device);
  if (it == devices_.end()) return;
  const NodeId node =
      add_function("builtins.getattr", {Value::node(it->second), Value::string("type")}, ValueType::other);
  if (device_types_.insert_or_assign(text, node).second) Py_INCREF(text);  // its identity means this read
}

void Recorder::note_training_read(PyObject* module) {
  const std::string* path = scan_.path_of(module);
  if (!path) return;
  settle_training_read();
  training_read_ = module;
  use_module(*path, module);
  Node read;
  read.op = Opcode::get_attr;
  read.type = ValueType::number;
  read.target = path->empty() ? "training" : *path + ".training";
  training_read_node_ = add_node(std::move(read));
}

void Recorder::settle_training_read() {
  if (!training_read_) return;
  PyObject* const module = std::exchange(training_read_, nullptr);
  PyObject** slot = _PyObject_GetDictPtr(module);
  PyObject* flag = slot && *slot ? PyDict_GetItemString(*slot, "training") : nullptr;
  if (!flag) return;
  const Node& read = graph()[training_read_node_];
  capture_.mode_reads.push_back({read.target, flag == Py_True, where(read.source)});
}

Value Recorder::mode_flag(PyObject* value, NodeId call_begin) {
  // `F.dropout(x, p, self.training)` arrives with a plain bool, which would freeze the mode: it is the flag that traced
  // code has just read, if nothing was recorded since.
  if (!training_read_ || !PyBool_Check(value) || training_read_node_ + 1 != call_begin) return to_value(value);
  PyObject** slot = _PyObject_GetDictPtr(training_read_);
  if (!slot || !*slot || PyDict_GetItemString(*slot, "training") != value) return to_value(value);
  training_read_ = nullptr;
  return Value::node(training_read_node_);
}

}  // namespace modulize
