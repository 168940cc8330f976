#include "bridge/capture/arguments.h"

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/proxy.h"
#include "bridge/values/generators.h"
#include "bridge/values/structure.h"
#include "ir/control.h"

namespace modulize {

namespace {

constexpr int kMaxDepth = 200;

}  // namespace

StructureCopy::Leaf ArgumentBuilder::copy_leaf_of(Recorder& recorder) {
  return [&recorder](nb::handle leaf) {
    if (PyObject_TypeCheck(leaf.ptr(), TorchTypes::instance().module) && recorder.mode() == CaptureMode::running)
      return recorder.given().stand_in(leaf);
    if (!TorchTypes::instance().is_tensor(leaf.ptr()) && !is_generator(leaf.ptr())) return nb::borrow(leaf);
    Pause quiet(recorder);
    return copy_leaf(leaf);
  };
}

nb::object ArgumentBuilder::build(nb::handle value, NodeId node, const std::string& text, bool is_variadic) {
  const TorchTypes& torch = TorchTypes::instance();
  if (is_free(value)) return nb::steal(make_proxy(recorder_, node));
  PyObject* o = value.ptr();
  if (torch.is_tensor(o)) {
    if (recorder_.mode() == CaptureMode::symbolic) return nb::borrow(value);
    Pause quiet(recorder_);
    return nb::steal(recorder_.wrap_result(copy_tensor(value).ptr(), node, true));
  }
  if (is_generator(o) && recorder_.mode() == CaptureMode::running) {
    Pause quiet(recorder_);
    return nb::steal(recorder_.wrap_result(copy_generator(value).ptr(), node, false));
  }
  if (is_handle(value)) {
    add_structure_check(recorder_, node, structure_of(value), text);
    nb::object module = recorder_.given().stand_in(value);
    recorder_.given().give(module, node, text);
    return module;
  }
  const bool sequence = PyList_CheckExact(o) || PyTuple_CheckExact(o) || Py_TYPE(o) == torch.size ||
                        (PyTuple_Check(o) && nb::hasattr(value, "_make"));
  const bool dict = PyDict_CheckExact(o) || PyODict_CheckExact(o);
  if (sequence || dict) {
    if (++depth_ > kMaxDepth)
      throw Error(ErrorCode::CaptureError, "the inputs nest more than " + std::to_string(kMaxDepth) + " deep");
  }
  // The checks come first: what they guard against would fail when the parts are taken out.
  nb::object made;
  if (sequence) {
    nb::list items;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(o);
    const Value kind = Value::string(PyList_CheckExact(o) ? "list" : "tuple");
    const NodeId length =
        is_variadic ? recorder_.add_function("builtins.len", {Value::node(node)}, ValueType::number)
                    : recorder_.add_function(std::string(kLength), {Value::node(node), kind, Value::string(text)},
                                             ValueType::number);
    add_check(recorder_, length, Value::integer(count), "the length of " + text);
    for (Py_ssize_t i = 0; i < count; ++i) {
      nb::object item = nb::borrow(PySequence_Fast_GET_ITEM(o, i));
      items.append(build(item, element(node, Value::integer(i), item), text + "[" + std::to_string(i) + "]"));
    }
    nb::object type = nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(o)));
    if (PyList_CheckExact(o))
      made = items;
    else
      made = nb::hasattr(type, "_make") ? nb::object(type.attr("_make")(items)) : type(items);
  } else if (dict) {
    nb::object keys = nb::steal(PyDict_Keys(o));
    const NodeId now = is_variadic ? recorder_.add_function("builtins.list", {Value::node(node)}, ValueType::other)
                                   : recorder_.add_function(std::string(kKeys),
                                                            {Value::node(node), Value::string(text)}, ValueType::other);
    add_check(recorder_, now, recorder_.to_value(keys.ptr()), "the keys of " + text);
    made = nb::steal(PyObject_CallNoArgs(reinterpret_cast<PyObject*>(Py_TYPE(o))));
    if (!made.is_valid()) nb::raise_python_error();
    for (auto [key, item] : nb::borrow<nb::dict>(value)) {
      const std::string shown = nb::cast<std::string>(nb::repr(key));
      made[key] = build(item, element(node, recorder_.to_value(key.ptr()), item), text + "[" + shown + "]");
    }
  } else if (has_parts(o)) {
    return build_object(value, node, text);
  } else {
    const std::string type = nb::cast<std::string>(nb::type_name(value.type()));
    if (PyIter_Check(o))
      throw Error(ErrorCode::ArgumentError, text + " is a " + type + ", which can be read once: give a list");
    if (PyAnySet_Check(o) && (holds_tensor(o) || !modules_in(o).empty()))
      throw Error(ErrorCode::CaptureError,
                  text + " is a " + type + ", whose items have no place of their own: give a list");
    add_check(recorder_, node, recorder_.to_value(o), text);
    return Py_IS_TYPE(o, &PySet_Type) ? objects_.copy(value) : nb::borrow(value);
  }
  --depth_;
  if (recorder_.mode() == CaptureMode::running && !PyTuple_Check(o)) recorder_.objects().adopt(made.ptr(), node);
  return made;
}

nb::object ArgumentBuilder::build_object(nb::handle value, NodeId node, const std::string& text) {
  if (recorder_.mode() == CaptureMode::symbolic) {
    if (holds_tensor(value.ptr()))
      throw Error(ErrorCode::CaptureError, text + " is a " + nb::cast<std::string>(nb::type_name(value.type())) +
                                               " with tensors inside, which needs example_inputs");
    add_check(recorder_, node, recorder_.to_value(value.ptr()), text);
    return nb::borrow(value);
  }
  if (!objects_.knows(value.ptr())) add_structure_check(recorder_, node, structure_of(value), text);
  nb::object made = objects_.copy(value);
  PauseFlag quiet(recorder_);
  recorder_.objects().adopt(made.ptr(), node);
  if (!is_fixed_ && !modules_in(made.ptr()).empty()) give_modules_in(made, node, text);
  return made;
}

void ArgumentBuilder::give_modules_in(nb::handle object, NodeId node, const std::string& text, int depth) {
  if (depth > kMaxDepth) return;
  for (const Part& part : parts_of(object.ptr())) {
    const bool module = is_handle(part.value);
    if (!module && (!has_parts(part.value.ptr()) || modules_in(part.value.ptr()).empty())) continue;
    const NodeId at = recorder_.objects().part_node(node, part);
    if (module)
      recorder_.given().give(part.value, at, text + part.text());
    else
      give_modules_in(part.value, at, text + part.text(), depth + 1);
  }
}

nb::object ArgumentBuilder::build_fixed(nb::handle value, NodeId node, const std::string& text) {
  is_fixed_ = true;
  nb::object made = build(value, node, text);
  is_fixed_ = false;
  return made;
}

bool ArgumentBuilder::is_handle(nb::handle value) const {
  return !is_fixed_ && recorder_.mode() == CaptureMode::running &&
         PyObject_TypeCheck(value.ptr(), TorchTypes::instance().module);
}

bool ArgumentBuilder::is_free(nb::handle value) const {
  return placeholder_class_.is_valid() && !placeholder_class_.is_none() &&
         PyObject_IsInstance(value.ptr(), placeholder_class_.ptr()) == 1;
}

NodeId ArgumentBuilder::element(NodeId node, Value key, nb::handle item) {
  const ValueType type = TorchTypes::instance().is_tensor(item.ptr()) ? ValueType::tensor : ValueType::unknown;
  return recorder_.add_function("operator.getitem", {Value::node(node), std::move(key)}, type);
}

}  // namespace modulize
