#include "bridge/capture/state_writes.h"

#include <algorithm>

#include "bridge/capture/recorder.h"
#include "bridge/capture/structure.h"
#include "bridge/capture/variation.h"
#include "bridge/support/errors.h"

namespace modulize {

namespace {

constexpr std::size_t kMaxContainers = 20000;
constexpr int kMaxDepth = 8;

PyObject* instance_dict(PyObject* object) {
  PyObject** slot = _PyObject_GetDictPtr(object);
  return slot ? *slot : nullptr;
}

/// What nn.Module keeps for itself.
bool is_bookkeeping(PyObject* name) {
  static PyObject* const names = [] {
    nb::object module = nb::module_::import_("torch.nn").attr("Module")();
    nb::object set = nb::steal(PySet_New(nb::object(module.attr("__dict__")).ptr()));
    return set.release().ptr();
  }();
  return PySet_Contains(names, name) == 1;
}

std::string full_name(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

bool same_parts(const std::vector<Part>& a, const std::vector<Part>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].is_attribute != b[i].is_attribute || !a[i].value.is(b[i].value)) return false;
    if (a[i].key.is(b[i].key)) continue;
    const int equal = PyObject_RichCompareBool(a[i].key.ptr(), b[i].key.ptr(), Py_EQ);
    if (equal < 0) nb::raise_python_error();
    if (equal == 0) return false;
  }
  return true;
}

}  // namespace

// --- objects -------------------------------------------------------------------------------------------------

void ObjectState::add(PyObject* value, const std::string& name) {
  struct Next {
    PyObject* object;
    int depth;
  };
  std::vector<Next> stack{{value, 0}};
  while (!stack.empty()) {
    const Next next = stack.back();
    stack.pop_back();
    if (!has_parts(next.object) || next.depth > kMaxDepth || entries_.size() >= kMaxContainers) continue;
    const auto [it, fresh] = entries_.emplace(next.object, Entry{nb::borrow(next.object), {}, name});
    if (!fresh) continue;
    it->second.parts = parts_of(next.object);
    for (const Part& part : it->second.parts) stack.push_back({part.value.ptr(), next.depth + 1});
  }
}

void ObjectState::add_attributes_of(const ModuleScan& scan) {
  for (const ModuleScan::Entry& entry : scan.modules)
    if (PyObject* dict = instance_dict(entry.module); dict && !is_library_leaf(Py_TYPE(entry.module))) {
      PyObject *key, *value;
      for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
        if (PyUnicode_Check(key) && !is_bookkeeping(key) && has_parts(value))
          add(value, full_name(entry.path, text_of(nb::handle(key))));
    }
}

const std::vector<Part>* ObjectState::parts(PyObject* container) const {
  const auto it = entries_.find(container);
  return it == entries_.end() ? nullptr : &it->second.parts;
}

bool ObjectState::is_changed(PyObject* container) const {
  std::unordered_map<PyObject*, bool> seen;
  return is_changed(container, seen);
}

bool ObjectState::is_changed(PyObject* container, std::unordered_map<PyObject*, bool>& seen) const {
  const auto it = entries_.find(container);
  if (it == entries_.end() || !seen.emplace(container, true).second) return false;
  if (!same_parts(it->second.parts, parts_of(container))) return true;
  return std::any_of(it->second.parts.begin(), it->second.parts.end(),
                     [&](const Part& part) { return is_changed(part.value.ptr(), seen); });
}

std::vector<std::string> ObjectState::restore() {
  std::vector<std::string> changed;
  for (auto& [object, entry] : entries_) {
    if (PyTuple_Check(object) || same_parts(entry.parts, parts_of(object))) continue;
    if (std::find(changed.begin(), changed.end(), entry.name) == changed.end()) changed.push_back(entry.name);
    set_parts(object, entry.parts);
  }
  return changed;
}

// --- one capture ------------------------------------------------------------------------------------------------

std::vector<Part> StateWrites::attributes_of(PyObject* module) {
  std::vector<Part> out;
  PyObject* dict = instance_dict(module);
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

StateWrites::StateWrites(Recorder& recorder, const StatePlan* plan) : recorder_(recorder), plan_(plan) {
  objects_.add_attributes_of(recorder.scan());
  for (const ModuleScan::Entry& entry : recorder.scan().modules) {
    // What is called as a whole writes its state itself.
    if (is_library_leaf(Py_TYPE(entry.module)) || recorder.excluded_modules.contains(entry.module)) continue;
    const bool kept = std::any_of(recorder.kept_modules.begin(), recorder.kept_modules.end(), [&](const auto& k) {
      const std::string* above = recorder.scan().path_of(k.first);
      return above && (*above == entry.path || entry.path.starts_with(*above + "."));
    });
    if (kept) continue;
    modules_.push_back({nb::borrow(entry.module), &entry.path, attributes_of(entry.module)});
  }
}

NodeId StateWrites::owner(const Module& module) {
  if (const auto it = owners_.find(module.path); it != owners_.end()) return it->second;
  const NodeId made = recorder_.module_node(*module.path, module.module.ptr());
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
  if (part == module.attributes.end()) {
    recorder_.add_check(
        recorder_.add_function("builtins.hasattr", {Value::node(from), Value::string(name)}, ValueType::number),
        Value::boolean(nb::hasattr(module.module, name.c_str())), "whether there is an " + text);
    return;
  }
  PyObject* value = part->value.ptr();
  if (TorchTypes::instance().is_tensor(value)) return;  // read by a get_attr of its own
  const bool number = PyLong_Check(value) || PyFloat_Check(value);
  const NodeId node = attribute(module, name, number ? ValueType::number : ValueType::other);
  if (PyLong_CheckExact(value) || PyFloat_CheckExact(value)) {
    part->value = nb::steal(recorder_.wrap_result(value, node, false));
    recorder_.mark_read_from_value(node);
    if (PyDict_SetItem(instance_dict(module.module.ptr()), part->key.ptr(), part->value.ptr()) < 0)
      nb::raise_python_error();
  } else if (has_parts(value)) {
    recorder_.add_structure_check(node, structure_of(part->value), text);
    recorder_.objects().adopt(value, node);
  } else {
    recorder_.add_check(node, recorder_.to_value(value), text);
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
        recorder_.mark_read_from_value(node);
        if (PyDict_SetItem(instance_dict(module.module.ptr()), part.key.ptr(), part.value.ptr()) < 0)
          nb::raise_python_error();
      } else {
        const std::string what =
            "what a call that was not looked into leaves in attribute '" + full_name(*module.path, text) + "'";
        const NodeId node = attribute(module, text, ValueType::other);
        if (has_parts(value)) {
          recorder_.add_structure_check(node, structure_of(part.value), what);
          if (!recorder_.objects().knows(value)) recorder_.objects().adopt(value, node);
        } else {
          recorder_.add_check(node, recorder_.to_value(value), what);
        }
      }
    }
    module.attributes = std::move(now);
  }
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
      if (replaced) {
        Value written = recorder_.to_value(value);
        recorder_.objects().refuse_hidden_tensors(written, "forward writes to attribute '" + name + "'");
        const NodeId to = owner(module);
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
      const NodeId from = owner(module);
      recorder_.add_function("builtins.delattr", {Value::node(from), Value::string(text)}, ValueType::other);
    }
    module.attributes = std::move(now);
  }
}

// --- what kind of state ---------------------------------------------------------------------------------------------

namespace {

/// Runs of the original that leave nothing behind but what they are asked to.
class Trials {
 public:
  Trials(nb::handle root, const CaptureOptions& options, const Capture& first)
      : root_(nb::borrow(root)), options_(options) {
    nb::module_ torch = nb::module_::import_("torch");
    set_grad_ = torch.attr("_C").attr("_set_grad_enabled");
    had_grad_ = torch.attr("is_grad_enabled")();
    random_ = random_state();
    set_grad_(false);
    for (const nb::object& tensor : first.overwritten) overwritten_.emplace_back(tensor, copy_tensor(tensor));
  }
  ~Trials() {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    try {
      put_back();
      set_random_state();
      set_grad_(had_grad_);
    } catch (nb::python_error& e) {
      e.discard_as_unraisable("putting a model back after trying it");
    }
    PyErr_Restore(type, value, trace);
  }

  /// The state of the model is to be put back by `put_back`.
  void save() {
    scan_ = scan_modules(root_);
    snapshot_ = std::make_unique<StateSnapshot>(scan_, true);
    objects_ = ObjectState();
    objects_.add_attributes_of(scan_);
  }

  void put_back() {
    if (!snapshot_) return;
    objects_.restore();
    snapshot_->restore();
    snapshot_.reset();
    for (auto& [tensor, copy] : overwritten_) tensor.attr("detach")().attr("copy_")(copy);
  }

  /// What forward returns for the example (`varied`: with other values, and a row more if `more_rows`).
  nb::object run(bool varied, bool more_rows) {
    set_random_state();
    nb::object args = options_.example_inputs.is_none() ? nb::object(nb::tuple()) : options_.example_inputs;
    nb::dict keywords;
    if (!options_.example_kwargs.is_none()) keywords.update(nb::borrow<nb::dict>(options_.example_kwargs));
    if (!options_.concrete_args.is_none()) keywords.update(nb::borrow<nb::dict>(options_.concrete_args));
    nb::object both = nb::make_tuple(args, keywords);
    both = varied ? vary(both, {.more_rows = more_rows}) : copied(both);
    nb::object forward = root_.attr("forward");
    nb::object out = nb::steal(PyObject_Call(forward.ptr(), nb::object(both[0]).ptr(), nb::object(both[1]).ptr()));
    if (!out.is_valid()) nb::raise_python_error();
    // State may be among what is returned, and written by the next run.
    StructureCopy copies([](nb::handle leaf) {
      return TorchTypes::instance().is_tensor(leaf.ptr()) ? nb::object(leaf.attr("detach")().attr("clone")())
                                                          : nb::borrow(leaf);
    });
    return copies.copy(out);
  }

 private:
  static nb::object random_state() {
    return nb::make_tuple(nb::module_::import_("torch").attr("get_rng_state")(),
                          nb::module_::import_("random").attr("getstate")());
  }
  void set_random_state() {
    nb::module_::import_("torch").attr("set_rng_state")(nb::object(random_[0]));
    nb::module_::import_("random").attr("setstate")(nb::object(random_[1]));
  }

  nb::object root_;
  const CaptureOptions& options_;
  nb::object set_grad_, had_grad_, random_;
  ModuleScan scan_;
  std::unique_ptr<StateSnapshot> snapshot_;
  ObjectState objects_;
  std::vector<std::pair<nb::object, nb::object>> overwritten_;
};

/// The value of an attribute "path.name"; None where there is none.
nb::object attribute_value(nb::handle root, const std::string& name) {
  const std::size_t dot = name.rfind('.');
  nb::object module = nb::borrow(root);
  if (dot != name.npos) module = module.attr("get_submodule")(name.substr(0, dot));
  return nb::getattr(module, name.substr(dot == name.npos ? 0 : dot + 1).c_str(), nb::none());
}

/// True if the second value is the first one, but for what containers got in addition.
bool is_stable(const nb::object& same, nb::handle first, nb::handle second, int depth) {
  if (!has_parts(first.ptr())) return nb::cast<bool>(same(first, second));
  if (Py_TYPE(first.ptr()) != Py_TYPE(second.ptr())) return false;
  if (depth > kMaxDepth) return true;
  const std::vector<Part> now = parts_of(second.ptr());
  for (const Part& part : parts_of(first.ptr())) {
    const auto it = std::find_if(now.begin(), now.end(), [&](const Part& p) {
      return p.is_attribute == part.is_attribute && PyObject_RichCompareBool(p.key.ptr(), part.key.ptr(), Py_EQ) == 1;
    });
    if (it == now.end() || !is_stable(same, part.value, it->value, depth + 1)) return false;
  }
  return true;
}

/// Attributes that are another after a second call with the same inputs: counters, averages.
std::set<std::string> find_unstable(nb::handle root, const CaptureOptions& options, const Capture& first) {
  const nb::object same = nb::module_::import_("modulize._engine").attr("is_same");
  std::vector<nb::object> values[2];
  Trials trials(root, options, first);
  trials.save();
  try {
    for (std::vector<nb::object>& after : values) {
      trials.run(false, false);
      for (const std::string& name : first.state_writes) {
        StructureCopy copies([](nb::handle leaf) {
          return TorchTypes::instance().is_tensor(leaf.ptr()) ? nb::object(leaf.attr("detach")().attr("clone")())
                                                              : nb::borrow(leaf);
        });
        after.push_back(copies.copy(attribute_value(root, name)));
      }
    }
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_Exception)) throw;
    return {first.state_writes.begin(), first.state_writes.end()};
  }
  std::set<std::string> out;
  for (std::size_t i = 0; i < first.state_writes.size(); ++i)
    if (!is_stable(same, values[0][i], values[1][i], 0)) out.insert(first.state_writes[i]);
  return out;
}

/// Does what a call leaves on the model change nothing for the next?
bool is_without_consequence(nb::handle root, const CaptureOptions& options, const Capture& first) {
  const nb::object same = nb::module_::import_("modulize._engine").attr("is_same");
  Trials trials(root, options, first);
  for (const bool more_rows : {true, false}) {
    try {
      nb::object fresh[2], after[2];  // of the example and of other inputs
      trials.save();
      fresh[1] = trials.run(true, more_rows);
      after[0] = trials.run(false, false);
      trials.put_back();
      trials.save();
      fresh[0] = trials.run(false, false);
      after[1] = trials.run(true, more_rows);
      trials.put_back();
      return nb::cast<bool>(same(fresh[0], after[0])) && nb::cast<bool>(same(fresh[1], after[1]));
    } catch (nb::python_error& error) {
      if (!error.matches(PyExc_Exception)) throw;
      trials.put_back();  // the model refuses these inputs, or its own state
    }
  }
  return false;
}

}  // namespace

StatePlan plan_state(nb::handle root, const CaptureOptions& options, const Capture& first) {
  StatePlan plan;
  if (!is_without_consequence(root, options, first)) {
    plan.live.insert(first.state_writes.begin(), first.state_writes.end());
    return plan;
  }
  const auto module_of = [](const std::string& name) {
    const std::size_t dot = name.rfind('.');
    return dot == name.npos ? std::string() : name.substr(0, dot);
  };
  plan.live = find_unstable(root, options, first);
  // A table that was there before the first call and is read as it was then must stay so.
  std::set<std::string> modules, written;
  for (const std::string& name : first.state_writes)
    if (!plan.live.contains(name)) written.insert(name);
  for (const NodeId id : first.graph.order())
    if (first.graph[id].op == Opcode::get_attr && written.contains(first.graph[id].target))
      modules.insert(module_of(first.graph[id].target));
  for (const std::string& name : written)
    if (modules.contains(module_of(name))) plan.silent.insert(name);
  return plan;
}

void own_written_objects(nb::handle prepared, const Capture& capture) {
  if (capture.state_writes.empty()) return;
  const ModuleScan scan = scan_modules(prepared);
  for (const std::string& name : capture.state_writes) {
    const std::size_t dot = name.rfind('.');
    const std::string path = dot == name.npos ? "" : name.substr(0, dot), attribute = name.substr(dot + 1);
    for (const ModuleScan::Entry& entry : scan.modules) {
      if (entry.path != path) continue;
      PyObject* dict = instance_dict(entry.module);
      PyObject* value = dict ? PyDict_GetItemString(dict, attribute.c_str()) : nullptr;
      if (!value || !has_parts(value)) continue;
      StructureCopy copies([&](nb::handle leaf) {
        if (!TorchTypes::instance().is_tensor(leaf.ptr()) || scan.tensors.contains(leaf.ptr())) return nb::borrow(leaf);
        return copy_tensor(leaf);
      });
      if (PyDict_SetItemString(dict, attribute.c_str(), copies.copy(value).ptr()) < 0) nb::raise_python_error();
    }
  }
}

}  // namespace modulize
