#include "bridge/record/objects.h"

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/recorder.h"
#include "ir/control.h"

namespace modulize {

namespace {

bool is_exact_container(PyObject* o) { return PyList_CheckExact(o) || PyTuple_CheckExact(o) || PyDict_CheckExact(o); }

bool is_mapping(PyObject* o) { return PyDict_Check(o); }

nb::object type_of(PyObject* o) { return nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(o))); }

std::string type_name(PyObject* o) { return text_of(type_of(o).attr("__name__")); }

bool same_key(const Part& a, const Part& b) {
  if (a.is_attribute != b.is_attribute) return false;
  if (a.key.is(b.key)) return true;
  const int equal = PyObject_RichCompareBool(a.key.ptr(), b.key.ptr(), Py_EQ);
  if (equal < 0) nb::raise_python_error();
  return equal == 1;
}

const Part* find_part(const std::vector<Part>& parts, const Part& like, std::size_t hint) {
  if (hint < parts.size() && same_key(parts[hint], like)) return &parts[hint];
  for (const Part& part : parts)
    if (same_key(part, like)) return &part;
  return nullptr;
}

/// An object of no container class.
bool is_plain_object(PyObject* o) {
  return !PyTuple_Check(o) && !PyList_Check(o) && !PyDict_Check(o) && !PyObject_HasAttrString(o, "maxlen");
}

PyTypeObject* layout_of_default_dict() {
  static PyObject* const type = nb::object(nb::module_::import_("collections").attr("defaultdict")).release().ptr();
  return reinterpret_cast<PyTypeObject*>(type);
}

/// Can the name stand before `=` in a call?
bool is_keyword_argument(const std::string& name) {
  static const nb::object* const is_keyword = new nb::object(nb::module_::import_("keyword").attr("iskeyword"));
  const nb::object text = nb::cast(name);
  return PyUnicode_IsIdentifier(text.ptr()) == 1 && !nb::cast<bool>((*is_keyword)(text));
}

/// True if the parts are the same objects under the same keys.
bool same_values(const std::vector<Part>& a, const std::vector<Part>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Part* other = find_part(b, a[i], i);
    if (!other || !other->value.is(a[i].value)) return false;
  }
  return true;
}

}  // namespace

NodeId KnownObjects::part_node(NodeId node, const Part& part) {
  const ValueType type = TorchTypes::instance().is_tensor(part.value.ptr()) ? ValueType::tensor : ValueType::other;
  if (part.is_attribute)
    return recorder_.add_function("builtins.getattr", {Value::node(node), Value::string(text_of(part.key))}, type);
  return recorder_.add_function("operator.getitem", {Value::node(node), recorder_.to_value(part.key.ptr())}, type);
}

void KnownObjects::adopt(PyObject* object, NodeId node, bool is_result) {
  if (const auto it = known_.find(object); it != known_.end()) {
    // The same object by another way: the prepared model's must be one object as well.
    if (it->second.node != node && Py_TYPE(object) != &PyTuple_Type)
      add_check(
          recorder_,
          recorder_.add_function("operator.is_", {Value::node(node), Value::node(it->second.node)}, ValueType::number),
          Value::boolean(true), "that two inputs hold the same " + type_name(object));
    return;
  }
  known_.emplace(object, Entry{nb::borrow(object), node, parts_of(object)});
  order_.push_back(object);
  const TorchTypes& torch = TorchTypes::instance();
  const std::vector<Part> parts = known_.at(object).written;
  for (const Part& part : parts) {
    PyObject* value = part.value.ptr();
    if (torch.is_tensor(value)) {
      const bool is_known = recorder_.node_of(value) != kNoNode;
      PyObject* const holder = part.is_attribute           ? attribute_dict(object)
                               : PyDict_CheckExact(object) ? object
                                                           : nullptr;
      if (is_known && !(is_result && holder)) continue;
      const NodeId at = part_node(node, part);
      const nb::object own = nb::steal(recorder_.wrap_result(value, at, !is_known));
      if (!is_known) continue;
      if (PyDict_SetItem(holder, part.key.ptr(), own.ptr()) < 0) nb::raise_python_error();
      known_.at(object).written = parts_of(object);
    } else if (Py_TYPE(value) == torch.device) {
      // Follows the object, as `tensor.device` follows the tensor.
      const NodeId at = part_node(node, part);
      nb::steal(recorder_.wrap_result(value, at, true));
    } else if (has_parts(value)) {
      adopt(value, part_node(node, part), is_result);
    } else if (PyAnySet_Check(value) && holds_tensor(value)) {
      throw Error(ErrorCode::CaptureError,
                  "a " + type_name(object) + " in the inputs holds a set of tensors, which has no order: use a list");
    }
  }
}

void KnownObjects::know(PyObject* object, NodeId node, std::vector<Part> parts) {
  if (!known_.emplace(object, Entry{nb::borrow(object), node, std::move(parts)}).second) return;
  order_.push_back(object);
}

void KnownObjects::adopt_result(PyObject* object, NodeId node) {
  if (PyDict_CheckExact(object))
    for (const Part& part : parts_of(object)) {
      PyObject* value = part.value.ptr();
      NumberOrigin origin;
      if (!PyLong_CheckExact(value) && !PyFloat_CheckExact(value) && !traced_origin(value, &origin) &&
          !is_exact_container(value))
        continue;
      nb::object traced = nb::steal(recorder_.wrap_result(value, part_node(node, part), false));
      if (PyDict_SetItem(object, part.key.ptr(), traced.ptr()) < 0) nb::raise_python_error();
    }
  adopt(object, node, true);
}

std::optional<Value> KnownObjects::find(PyObject* object) {
  if (!keeps_identity_ && is_exact_container(object)) return std::nullopt;
  const auto it = known_.find(object);
  if (it == known_.end()) return std::nullopt;
  if (it->second.node == kNoNode) {
    // It is being made, and a part of it refers back to it: made empty now, it gets its parts one by one.
    if (!is_plain_object(object))
      throw Error(ErrorCode::CaptureError, "a " + type_name(object) +
                                               " that contains itself cannot be made by the prepared model" +
                                               recorder_.places().in_words());
    const NodeId made = recorder_.add_function(
        std::string(kRebuild), {recorder_.to_value(type_of(object).ptr()), Value::none(), Value::none()},
        ValueType::other);
    known_.at(object).node = made;
    return Value::node(made);
  }
  write_back(object);
  return Value::node(it->second.node);
}

Value KnownObjects::part_value(const nb::object& value) {
  KeepIdentity keep(*this);
  return recorder_.to_value(value.ptr());
}

// --- changes ---------------------------------------------------------------------------------------------------

void KnownObjects::write_attribute(const Entry& entry, const Part* before, const Part* now) {
  const Value name = Value::string(text_of((now ? now : before)->key));
  // A class's own __setattr__ (a frozen dataclass) has had its say when forward ran.
  const bool plain = Py_TYPE(entry.object.ptr())->tp_setattro == PyObject_GenericSetAttr;
  if (now)
    recorder_.add_function(plain ? "builtins.setattr" : std::string(kSetAttribute),
                           {Value::node(entry.node), name, part_value(now->value)}, ValueType::other);
  else
    recorder_.add_function(plain ? "builtins.delattr" : std::string(kDeleteAttribute), {Value::node(entry.node), name},
                           ValueType::other);
}

void KnownObjects::write_items(const Entry& entry, const std::vector<Part>& before, const std::vector<Part>& now) {
  if (is_mapping(entry.object.ptr())) {
    for (const Part& part : before)
      if (!find_part(now, part, 0))
        recorder_.add_function("operator.delitem", {Value::node(entry.node), recorder_.to_value(part.key.ptr())},
                               ValueType::other);
    for (std::size_t i = 0; i < now.size(); ++i) {
      const Part* old = find_part(before, now[i], i);
      if (old && old->value.is(now[i].value)) continue;
      Value key = recorder_.to_value(now[i].key.ptr());
      recorder_.add_function("operator.setitem", {Value::node(entry.node), std::move(key), part_value(now[i].value)},
                             ValueType::other);
    }
    return;
  }
  bool grew = now.size() > before.size();
  for (std::size_t i = 0; grew && i < before.size(); ++i) grew = before[i].value.is(now[i].value);
  ValueList items;
  for (std::size_t i = grew ? before.size() : 0; i < now.size(); ++i) items.push_back(part_value(now[i].value));
  recorder_.add_function(std::string(grew ? kExtend : kSetItems),
                         {Value::node(entry.node), Value::list(std::move(items))}, ValueType::other);
}

void KnownObjects::write_back(PyObject* object) {
  const auto it = known_.find(object);
  if (it == known_.end() || it->second.busy) return;
  it->second.busy = true;
  std::vector<Part> now = parts_of(object);
  // Inner ones first: what is written may refer to them.
  for (const Part& part : now)
    if (has_parts(part.value.ptr())) write_back(part.value.ptr());
  const std::vector<Part> before = it->second.written;
  if (!same_values(before, now)) {
    const NodeId at = static_cast<NodeId>(recorder_.graph().id_limit());
    undo_.push_back({at, object, before});
    std::vector<Part> items_before, items_now;
    for (const Part& part : before)
      if (!part.is_attribute) items_before.push_back(part);
    for (const Part& part : now)
      if (!part.is_attribute) items_now.push_back(part);
    const Entry entry = it->second;  // recording may add entries
    for (std::size_t i = 0; i < before.size(); ++i)
      if (before[i].is_attribute && !find_part(now, before[i], i)) write_attribute(entry, &before[i], nullptr);
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (!now[i].is_attribute) continue;
      const Part* old = find_part(before, now[i], i);
      if (!old || !old->value.is(now[i].value)) write_attribute(entry, old, &now[i]);
    }
    if (!PyTuple_Check(object) && !same_values(items_before, items_now)) write_items(entry, items_before, items_now);
    known_.at(object).written = std::move(now);
  }
  known_.at(object).busy = false;
}

void KnownObjects::write_back_all() {
  for (std::size_t i = 0; i < order_.size(); ++i) write_back(order_[i]);
}

void KnownObjects::reread_all() {
  for (std::size_t i = 0; i < order_.size(); ++i) {
    Entry& entry = known_.at(order_[i]);
    const std::vector<Part> before = entry.written;
    std::vector<Part> now = parts_of(order_[i]);
    if (same_values(before, now)) continue;
    entry.written = now;
    const NodeId node = entry.node;
    const TorchTypes& torch = TorchTypes::instance();
    for (std::size_t k = 0; k < now.size(); ++k) {
      const Part* old = find_part(before, now[k], k);
      if (old && old->value.is(now[k].value)) continue;
      PyObject* value = now[k].value.ptr();
      const NodeId known = torch.is_tensor(value) ? recorder_.node_of(value) : kNoNode;
      const NodeId at = part_node(node, now[k]);
      if (known != kNoNode) {
        check_made(
            recorder_, nb::bool_(true),
            recorder_.add_function("operator.is_", {Value::node(at), Value::node(known)}, ValueType::number),
            "that a call that was not looked into put the same tensor into " + type_name(order_[i]) + now[k].text(),
            false);
      } else if (torch.is_tensor(value)) {
        nb::steal(recorder_.wrap_result(value, at, true));
      } else if (has_parts(value)) {
        if (!known_.contains(value)) adopt(value, at);
      } else {
        check_made(recorder_, now[k].value, at,
                   "what a call that was not looked into left in " + type_name(order_[i]) + now[k].text(), false);
      }
    }
  }
}

void KnownObjects::rollback(NodeId first) {
  while (!undo_.empty() && undo_.back().at >= first) {
    if (const auto it = known_.find(undo_.back().object); it != known_.end())
      it->second.written = std::move(undo_.back().written);
    undo_.pop_back();
  }
  while (!order_.empty() && known_.at(order_.back()).node >= first) {
    known_.erase(order_.back());
    order_.pop_back();
  }
}

// --- making objects anew ---------------------------------------------------------------------------------------

namespace {

bool holds_recorded(Recorder& recorder, PyObject* object, std::unordered_map<PyObject*, nb::object>& seen) {
  if (!has_parts(object)) return has_origin(recorder, object);
  if (!seen.emplace(object, nb::borrow(object)).second) return false;
  for (const Part& part : parts_of(object))
    if (holds_recorded(recorder, part.value.ptr(), seen)) return true;
  return false;
}

}  // namespace

bool KnownObjects::needs_rebuilding(PyObject* object) {
  if (!has_parts(object) || is_exact_container(object)) return false;
  std::unordered_map<PyObject*, nb::object> seen;
  return holds_recorded(recorder_, object, seen);
}

namespace {

/// What a call `type(*args, **kwargs)` gives, nothing if it raises. Nothing is recorded.
nb::object try_call(Recorder& recorder, nb::handle type, const nb::object& args, const nb::dict& kwargs) {
  Pause quiet(recorder);
  nb::object made = nb::steal(PyObject_Call(type.ptr(), args.ptr(), kwargs.ptr()));
  if (!made.is_valid()) PyErr_Clear();  // then it is made without its constructor
  return made;
}

bool makes_the_same(const nb::object& made, PyObject* object, const std::vector<Part>& parts) {
  return made.is_valid() && Py_TYPE(made.ptr()) == Py_TYPE(object) && same_values(parts_of(made.ptr()), parts);
}

}  // namespace

namespace {

/// The spellings of a constructor that a person would use: they must give the very same parts.
enum class Spelling : std::uint8_t { fields, items, mapping, one_sequence, none };

/// `fields`: filled in for Spelling::fields.
Spelling spelling_of(Recorder& recorder, PyObject* object, const std::vector<Part>& parts, const nb::list& item_list,
                     const nb::dict& item_dict, nb::dict& fields) {
  const nb::object type = type_of(object);
  Spelling spelling = Spelling::none;
  if (nb::hasattr(type, "__dataclass_fields__")) {
    for (nb::handle field : nb::module_::import_("dataclasses").attr("fields")(type)) {
      if (!nb::cast<bool>(field.attr("init"))) continue;
      nb::object value = nb::steal(PyObject_GenericGetAttr(object, nb::object(field.attr("name")).ptr()));
      if (!value.is_valid())
        PyErr_Clear();
      else if (!value.is(nb::object(field.attr("default"))))
        fields[field.attr("name")] = value;
    }
    if (makes_the_same(try_call(recorder, type, nb::make_tuple(), fields), object, parts)) spelling = Spelling::fields;
  }
  const nb::dict no_keywords;
  if (spelling == Spelling::none && PyTuple_Check(object)) {
    if (makes_the_same(try_call(recorder, type, nb::tuple(item_list), no_keywords), object, parts))
      spelling = Spelling::items;
    else if (makes_the_same(try_call(recorder, type, nb::make_tuple(item_list), no_keywords), object, parts))
      spelling = Spelling::one_sequence;
  }
  if (spelling == Spelling::none && is_mapping(object) && !nb::hasattr(type, "default_factory") &&
      makes_the_same(try_call(recorder, type, nb::make_tuple(item_dict), no_keywords), object, parts))
    spelling = Spelling::mapping;
  if (spelling == Spelling::none && PyList_Check(object) &&
      makes_the_same(try_call(recorder, type, nb::make_tuple(item_list), no_keywords), object, parts))
    spelling = Spelling::one_sequence;
  return spelling;
}

}  // namespace

// The nodes that make one object anew.
class KnownObjects::Rebuilding {
 public:
  Rebuilding(KnownObjects& objects, PyObject* object)
      : objects_(objects),
        recorder_(objects.recorder_),
        object_(object),
        type_(type_of(object)),
        parts_(parts_of(object)) {}

  /// The node that yields it. The object stands in the table, without a node, while its parts are recorded.
  NodeId record() {
    nb::dict fields;
    const Spelling spelling = find_spelling(fields);
    objects_.known_.emplace(object_, Entry{nb::borrow(object_), kNoNode, {}, true});
    objects_.order_.push_back(object_);
    const NodeId made = spelling == Spelling::none ? without_constructor() : by_constructor(spelling, fields);
    Entry& entry = objects_.known_.at(object_);
    entry.node = made;
    entry.written = parts_;
    entry.busy = false;
    return made;
  }

 private:
  Spelling find_spelling(nb::dict& fields) const {
    nb::list item_list;
    nb::dict item_dict;
    for (const Part& part : parts_) {
      if (part.is_attribute) continue;
      if (is_mapping(object_))
        item_dict[part.key] = part.value;
      else
        item_list.append(part.value);
    }
    return spelling_of(recorder_, object_, parts_, item_list, item_dict, fields);
  }

  void call_class(Node& node) {
    Value name = recorder_.to_value(type_.ptr());
    if (name.is(ValueKind::name))
      node.target = name.text();
    else
      node.callee = std::move(name);
  }
  Value mapping() {
    ValueDict items;
    for (const Part& part : parts_)
      if (!part.is_attribute) items.emplace_back(recorder_.to_value(part.key.ptr()), objects_.part_value(part.value));
    return Value::dict(std::move(items));
  }
  ValueList sequence() {
    ValueList items;
    for (const Part& part : parts_)
      if (!part.is_attribute) items.push_back(objects_.part_value(part.value));
    return items;
  }
  Value attribute_of(const char* name) { return recorder_.to_value(nb::object(nb::handle(object_).attr(name)).ptr()); }

  NodeId by_constructor(Spelling spelling, const nb::dict& fields) {
    Node node;
    node.type = ValueType::other;
    if (spelling == Spelling::fields)
      for (auto [key, value] : fields) node.kwargs.emplace_back(text_of(key), objects_.part_value(nb::borrow(value)));
    else if (spelling == Spelling::items)
      node.args = sequence();
    else if (spelling == Spelling::one_sequence)
      node.args.push_back(Value::list(sequence()));
    else
      node.args.push_back(mapping());
    call_class(node);
    return recorder_.add_node(std::move(node));
  }

  NodeId without_constructor() {
    std::vector<std::pair<std::string, Value>> attributes;
    for (const Part& part : parts_)
      if (part.is_attribute) attributes.emplace_back(text_of(part.key), objects_.part_value(part.value));
    NodeId made = objects_.known_.at(object_).node;  // a part that refers back to it had it made early
    Node node;
    node.type = ValueType::other;
    if (made == kNoNode && Py_TYPE(object_) == layout_of_default_dict()) {
      call_class(node);
      node.args = {attribute_of("default_factory"), mapping()};
      return recorder_.add_node(std::move(node));
    }
    if (made == kNoNode) {
      node.target = kRebuild;
      node.args = {recorder_.to_value(type_.ptr()), Value::none(), Value::none()};
      if (is_mapping(object_))
        node.args[1] = mapping();
      else if (!is_plain_object(object_))
        node.args[1] = Value::list(sequence());
      if (nb::hasattr(type_, "default_factory"))
        attributes.emplace_back("default_factory", attribute_of("default_factory"));
      if (nb::hasattr(type_, "maxlen")) node.args[2] = attribute_of("maxlen");
      std::vector<std::pair<std::string, Value>> late;
      for (auto& [name, value] : attributes)
        (is_keyword_argument(name) ? node.kwargs : late).emplace_back(name, std::move(value));
      attributes = std::move(late);
      made = recorder_.add_node(std::move(node));
    }
    for (auto& [name, value] : attributes)
      recorder_.add_function(std::string(kSetAttribute), {Value::node(made), Value::string(name), std::move(value)},
                             ValueType::other);
    return made;
  }

  KnownObjects& objects_;
  Recorder& recorder_;
  PyObject* const object_;
  const nb::object type_;
  const std::vector<Part> parts_;
};

Value KnownObjects::rebuild(PyObject* object) { return Value::node(Rebuilding(*this, object).record()); }

namespace {

bool hides_recorded(Recorder& recorder, PyObject* object, int depth);

struct Visit {
  Recorder& recorder;
  int depth;
};

int visit(PyObject* object, void* arg) {
  auto* at = static_cast<Visit*>(arg);
  return hides_recorded(at->recorder, object, at->depth) ? 1 : 0;
}

bool hides_recorded(Recorder& recorder, PyObject* object, int depth) {
  const TorchTypes& torch = TorchTypes::instance();
  NumberOrigin origin;
  if (torch.is_tensor(object)) return recorder.node_of(object) != kNoNode;
  if (traced_origin(object, &origin)) return origin.capture == recorder.origins().capture();
  if (depth <= 0 || PyType_Check(object) || PyModule_Check(object) || PyType_IsSubtype(Py_TYPE(object), torch.module))
    return false;
  Visit next{recorder, depth - 1};
  if (PyFunction_Check(object)) {  // not its globals
    PyObject* closure = PyFunction_GetClosure(object);
    return closure && hides_recorded(recorder, closure, depth - 1);
  }
  traverseproc traverse = Py_TYPE(object)->tp_traverse;
  return PyObject_IS_GC(object) && traverse && traverse(object, visit, &next) != 0;
}

}  // namespace

void KnownObjects::refuse_hidden_tensors(const Value& value, const std::string& what) {
  switch (value.kind()) {
    case ValueKind::object: {
      constexpr int kDepth = 4;
      PyObject* object = recorder_.capture().objects[value.as_object().id].ptr();
      if (hides_recorded(recorder_, object, kDepth))
        throw Error(ErrorCode::CaptureError,
                    what + " a " + type_name(object) +
                        " with tensors of this call inside, which the prepared model could not make anew: use tensors, "
                        "numbers, lists, tuples, dicts and objects with attributes");
      return;
    }
    case ValueKind::tuple:
    case ValueKind::list:
      for (const Value& item : value.items()) refuse_hidden_tensors(item, what);
      return;
    case ValueKind::dict:
      for (const auto& [key, item] : value.dict_items()) refuse_hidden_tensors(item, what);
      return;
    default:
      return;
  }
}

}  // namespace modulize
