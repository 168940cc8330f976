#include "bridge/boundary/module_state.h"

#include <algorithm>

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/modules.h"
#include "bridge/record/recorder.h"
#include "bridge/values/structure.h"
#include "bridge/world/checkpoint.h"

namespace modulize {

std::vector<Part> StateWrites::attributes_of(PyObject* module) {
  std::vector<Part> out;
  PyObject* dict = attribute_dict(module);
  if (!dict) return out;
  PyObject *key, *value;
  for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
    if (PyUnicode_Check(key) && !is_bookkeeping(key)) out.push_back({true, nb::borrow(key), nb::borrow(value)});
  PyObject* buffers = PyDict_GetItemString(dict, "_buffers");
  if (buffers && PyDict_Check(buffers))
    for (Py_ssize_t at = 0; PyDict_Next(buffers, &at, &key, &value);)
      if (PyUnicode_Check(key)) out.push_back({true, nb::borrow(key), nb::borrow(value)});
  return out;
}

StateWrites::StateWrites(Recorder& recorder, const StatePlan* plan)
    : recorder_(recorder), plan_(plan), objects_(recorder.world().containers()) {
  for (const ModuleScan::Entry& entry : recorder.scan().modules) {
    // What is called as a whole writes its state itself.
    if (is_library_leaf(Py_TYPE(entry.module)) || recorder.settings.excluded_modules.contains(entry.module)) continue;
    const bool kept =
        std::any_of(recorder.settings.kept_modules.begin(), recorder.settings.kept_modules.end(), [&](const auto& k) {
          const std::string* above = recorder.scan().path_of(k.first);
          return above && (*above == entry.path || entry.path.starts_with(*above + "."));
        });
    if (kept) continue;
    modules_.push_back({nb::borrow(entry.module), &entry.path, attributes_of(entry.module)});
  }
}

NodeId StateWrites::owner(const Module& module) {
  if (const auto it = owners_.find(module.path); it != owners_.end()) return it->second;
  const NodeId made = module_node(recorder_, *module.path, module.module.ptr());
  owners_.emplace(module.path, made);
  return made;
}

NodeId StateWrites::attribute(const Module& module, const std::string& name, ValueType type) {
  const NodeId from = owner(module);
  return recorder_.add_function("builtins.getattr", {Value::node(from), Value::string(name)}, type);
}

void StateWrites::make_live() {
  if (!plan_) return;
  for (Module& module : modules_)
    for (const std::string& name : plan_->live) {
      const std::size_t dot = name.rfind('.');
      const std::string path = dot == name.npos ? "" : name.substr(0, dot);
      if (path == *module.path) make_live(module, dot == name.npos ? name : name.substr(dot + 1));
    }
}

void StateWrites::make_live(Module& module, const std::string& name) {
  const std::string text = "attribute '" + full_name(*module.path, name) + "'";
  const auto part = std::find_if(module.attributes.begin(), module.attributes.end(),
                                 [&](const Part& p) { return text_of(p.key) == name; });
  const NodeId from = owner(module);
  const bool is_there = part != module.attributes.end();
  if (!is_there || plan_->optional.contains(full_name(*module.path, name)))
    add_check(recorder_,
              recorder_.add_function("builtins.hasattr", {Value::node(from), Value::string(name)}, ValueType::number),
              Value::boolean(is_there || nb::hasattr(module.module, name.c_str())), "whether there is an " + text);
  if (!is_there) return;
  PyObject* value = part->value.ptr();
  if (TorchTypes::instance().is_tensor(value)) return;  // read by a get_attr of its own
  const bool number = PyLong_Check(value) || PyFloat_Check(value);
  const NodeId node = attribute(module, name, number ? ValueType::number : ValueType::other);
  if (PyLong_CheckExact(value) || PyFloat_CheckExact(value)) {
    part->value = nb::steal(recorder_.wrap_result(value, node, false));
    recorder_.origins().mark_from_value(node);
    if (PyDict_SetItem(attribute_dict(module.module.ptr()), part->key.ptr(), part->value.ptr()) < 0)
      nb::raise_python_error();
  } else if (has_parts(value)) {
    add_structure_check(recorder_, node, structure_of(part->value), text);
    recorder_.objects().adopt(value, node);
  } else {
    add_check(recorder_, node, recorder_.to_value(value), text);
  }
}

void StateWrites::know(PyObject* container, NodeId node, std::unordered_map<PyObject*, bool>& seen) {
  const std::vector<Part>* parts = objects_.parts(container);
  if (!parts || !seen.emplace(container, true).second) return;
  recorder_.objects().know(container, node, *parts);
  for (const Part& part : *parts)
    if (objects_.parts(part.value.ptr()) && objects_.is_changed(part.value.ptr()))
      know(part.value.ptr(), recorder_.objects().part_node(node, part), seen);
}

void StateWrites::reread() {
  for (Module& module : modules_) {
    std::vector<Part> now = attributes_of(module.module.ptr());
    if (same_parts(now, module.attributes)) continue;
    for (Part& part : now) {
      const bool known = std::any_of(module.attributes.begin(), module.attributes.end(),
                                     [&](const Part& p) { return p.key.is(part.key) && p.value.is(part.value); });
      PyObject* value = part.value.ptr();
      if (known || PyType_IsSubtype(Py_TYPE(value), TorchTypes::instance().module)) continue;
      const std::string text = text_of(part.key);
      if (TorchTypes::instance().is_tensor(value)) {
        if (recorder_.node_of(value) != kNoNode) continue;
        const NodeId node = attribute(module, text, ValueType::tensor);
        nb::steal(recorder_.wrap_result(value, node, true));
      } else if (PyLong_CheckExact(value) || PyFloat_CheckExact(value)) {
        const NodeId node = attribute(module, text, ValueType::number);
        part.value = nb::steal(recorder_.wrap_result(value, node, false));
        recorder_.origins().mark_from_value(node);
        if (PyDict_SetItem(attribute_dict(module.module.ptr()), part.key.ptr(), part.value.ptr()) < 0)
          nb::raise_python_error();
      } else {
        const std::string what =
            "what a call that was not looked into leaves in attribute '" + full_name(*module.path, text) + "'";
        const NodeId node = attribute(module, text, ValueType::other);
        if (has_parts(value)) {
          add_structure_check(recorder_, node, structure_of(part.value), what);
          if (!recorder_.objects().knows(value)) recorder_.objects().adopt(value, node);
        } else {
          add_check(recorder_, node, recorder_.to_value(value), what);
        }
      }
    }
    module.attributes = std::move(now);
  }
}

namespace {

bool is_buffer(PyObject* module, PyObject* name) {
  PyObject* const dict = attribute_dict(module);
  PyObject* const buffers = dict ? PyDict_GetItemString(dict, "_buffers") : nullptr;
  return buffers && PyDict_Check(buffers) && PyDict_Contains(buffers, name) == 1;
}

}  // namespace

void StateWrites::register_buffer(const Module& module, NodeId to, const std::string& name, Value value) {
  PyObject* const dict = attribute_dict(module.module.ptr());
  PyObject* const hidden = PyDict_GetItemString(dict, "_non_persistent_buffers_set");
  const nb::object text = nb::cast(name);
  const bool persistent = !hidden || PySet_Contains(hidden, text.ptr()) != 1;
  Node node;
  node.op = Opcode::call_method;
  node.type = ValueType::other;
  node.target = "register_buffer";
  node.args = {Value::node(to), Value::string(name), std::move(value), Value::boolean(persistent)};
  recorder_.add_node(std::move(node));
}

void StateWrites::record() {
  const KnownObjects::KeepIdentity identity(recorder_.objects());
  std::vector<std::string>& names = recorder_.capture().state_writes;
  const auto note = [&](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    return !plan_ || !plan_->silent.contains(name);
  };
  for (Module& module : modules_) {
    std::vector<Part> now = attributes_of(module.module.ptr());
    std::size_t hint = 0;
    std::vector<bool> met(module.attributes.size(), false);
    for (const Part& part : now) {
      const Part* before = nullptr;
      for (std::size_t i = 0; i < module.attributes.size() && !before; ++i) {
        const std::size_t at = (hint + i) % module.attributes.size();
        if (PyUnicode_Compare(module.attributes[at].key.ptr(), part.key.ptr()) != 0) continue;
        before = &module.attributes[at];
        met[at] = true;
        hint = at + 1;
      }
      PyObject* value = part.value.ptr();
      const bool replaced = !before || !before->value.is(part.value);
      if (!replaced && !objects_.is_changed(value)) continue;
      if (PyType_IsSubtype(Py_TYPE(value), TorchTypes::instance().module)) continue;
      const std::string text = text_of(part.key), name = full_name(*module.path, text);
      if (!note(name)) continue;
      if (!before) recorder_.capture().optional_state.insert(name);
      if (replaced) {
        Value written = recorder_.to_value(value);
        recorder_.objects().refuse_hidden_tensors(written, "forward writes to attribute '" + name + "'");
        const NodeId to = owner(module);
        if (!before && is_buffer(module.module.ptr(), part.key.ptr()))
          register_buffer(module, to, text, std::move(written));
        else
          recorder_.add_function("builtins.setattr", {Value::node(to), Value::string(text), std::move(written)},
                                 ValueType::other);
        if (has_parts(value) && !recorder_.objects().knows(value))
          recorder_.objects().adopt(value, attribute(module, text, ValueType::other));
      } else {
        if (!recorder_.objects().knows(value)) {
          std::unordered_map<PyObject*, bool> seen;
          know(value, attribute(module, text, ValueType::other), seen);
        }
        recorder_.objects().write_back(value);
      }
    }
    for (std::size_t i = 0; i < met.size(); ++i) {
      if (met[i]) continue;
      const std::string text = text_of(module.attributes[i].key), name = full_name(*module.path, text);
      if (!note(name)) continue;
      recorder_.capture().optional_state.insert(name);
      const NodeId from = owner(module);
      recorder_.add_function("builtins.delattr", {Value::node(from), Value::string(text)}, ValueType::other);
    }
    module.attributes = std::move(now);
  }
}

}  // namespace modulize
