#include "bridge/record/given_modules.h"

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/environment.h"
#include "bridge/record/recorder.h"
#include "bridge/values/structure.h"

namespace modulize {

namespace {

bool is_module(PyObject* object) { return PyObject_TypeCheck(object, TorchTypes::instance().module); }

bool is_named(PyObject* name, const char* text) { return PyUnicode_CompareWithASCIIString(name, text) == 0; }

bool is_part_registry(PyObject* name) {
  return is_named(name, "_parameters") || is_named(name, "_buffers") || is_named(name, "_modules");
}

}  // namespace

nb::object GivenModules::stand_in(nb::handle module) {
  if (!recorder_.scan().path_of(module.ptr())) return nb::borrow(module);
  nb::object& made = stand_ins_[module.ptr()];
  if (made.is_valid()) return made;
  const nb::object none = nb::tuple();
  made = checked(PyBaseObject_Type.tp_new(Py_TYPE(module.ptr()), none.ptr(), nullptr));
  // One dict for both: what one of them changes on itself, the other has as well.
  const nb::object dict = module.attr("__dict__"), name = nb::str("__dict__");
  if (PyObject_GenericSetAttr(made.ptr(), name.ptr(), dict.ptr()) < 0) nb::raise_python_error();
  return made;
}

void GivenModules::give(nb::handle module, NodeId node, const std::string& text) {
  const auto it = known_.find(module.ptr());
  if (it == known_.end()) {
    scans_.push_back(std::make_unique<ModuleScan>(scan_modules(module)));
    add(module, node, text, scans_.back().get());
  } else if (it->second.node != node) {
    add_check(
        recorder_,
        recorder_.add_function("operator.is_", {Value::node(node), Value::node(it->second.node)}, ValueType::number),
        Value::boolean(true), "that " + text + " is the module of " + it->second.text);
  }
}

void GivenModules::add(nb::handle module, NodeId node, const std::string& text, const ModuleScan* scan) {
  known_.emplace(module.ptr(), Entry{nb::borrow(module), node, text, scan});
  order_.push_back(module.ptr());
}

NodeId GivenModules::node_of(PyObject* module) const {
  const auto it = known_.find(module);
  return it == known_.end() ? kNoNode : it->second.node;
}

NodeId GivenModules::node_of_tensor(PyObject* tensor) const {
  const auto it = tensors_.find(tensor);
  return it == tensors_.end() ? kNoNode : it->second.node;
}

void GivenModules::read(PyObject* module, PyObject* name, PyObject* value) {
  const Entry entry = known_.at(module);  // recording may add entries
  if (is_bookkeeping(name) && !is_named(name, "training")) {
    if (is_part_registry(name)) return read_registry(module, name, value);
    if (is_asked_by_torch(0)) return;
    refuse("what forward does with the hooks of " + entry.text);
  }
  const std::string text = entry.text + "." + modulize::text_of(nb::handle(name));
  const bool tensor = TorchTypes::instance().is_tensor(value);
  if (tensor && (tensors_.contains(value) || recorder_.node_of(value) != kNoNode)) return;
  if (is_module(value) && known_.contains(value)) return;
  if (recorder_.scan().path_of(value) || recorder_.scan().tensors.contains(value))
    refuse("what forward does with " + text + ", which is a part of the model itself");
  if (has_parts(value) && (holds_tensor(value) || !modules_in(value).empty()))
    refuse("what forward does with " + text + ", which holds tensors or modules");
  const PauseFlag quiet(recorder_);
  if (!tensor && !is_module(value))
    if (const std::string hidden = structure_of_made(value, false).hidden; !hidden.empty())
      refuse("what forward does with the " + hidden + " in " + text);
  const NodeId node = recorder_.add_function(
      "builtins.getattr", {Value::node(entry.node), Value::string(modulize::text_of(nb::handle(name)))},
      tensor ? ValueType::tensor : ValueType::other);
  add_structure_check(recorder_, node, structure_of(value), text);
  if (tensor)
    tensors_.emplace(value, Tensor{nb::borrow(value), node});
  else if (is_module(value))
    add(value, node, text, entry.scan);
  else if (has_parts(value))
    recorder_.objects().adopt(value, node);
}

// Code that goes over all parameters or children knows their names, and which of them are None.
void GivenModules::read_registry(PyObject* module, PyObject* name, PyObject* registry) {
  if (!PyDict_Check(registry)) return;
  const Entry entry = known_.at(module);
  {
    const PauseFlag quiet(recorder_);
    const std::string text = modulize::text_of(nb::handle(name));
    const NodeId node =
        recorder_.add_function("builtins.getattr", {Value::node(entry.node), Value::string(text)}, ValueType::other);
    const nb::object keys = checked(PyDict_Keys(registry));
    add_check(recorder_, recorder_.add_function("builtins.list", {Value::node(node)}, ValueType::other),
              recorder_.to_value(keys.ptr()), "the names in " + entry.text + "." + text);
  }
  const nb::object items = checked(PyDict_Copy(registry));
  for (auto [key, value] : nb::borrow<nb::dict>(items)) read(module, key.ptr(), value.ptr());
}

void GivenModules::missed(PyObject* module, PyObject* name) {
  const Entry entry = known_.at(module);
  const PauseFlag quiet(recorder_);
  const std::string text = modulize::text_of(nb::handle(name));
  add_check(
      recorder_,
      recorder_.add_function("builtins.hasattr", {Value::node(entry.node), Value::string(text)}, ValueType::number),
      Value::boolean(false), "whether " + entry.text + " has an attribute '" + text + "'");
}

void GivenModules::refuse(const std::string& what) {
  Decisions& decisions = recorder_.decisions();
  decisions.ask_to_keep(what,
                        " is not followed: exclude the function (functions_to_exclude) or the module "
                        "(modules_to_exclude) that does it",
                        decisions.candidates());
}

void GivenModules::refuse_write(PyObject* module, PyObject* name) {
  refuse("that forward sets " + known_.at(module).text + "." + modulize::text_of(nb::handle(name)));
}

void GivenModules::require_own_tensors(PyObject* module) {
  const Entry& entry = known_.at(module);
  for (const ModuleScan::Entry& inner : entry.scan->modules) {
    PyObject* const dict = attribute_dict(inner.module);
    if (!dict) continue;
    for (const char* kind : {"_parameters", "_buffers"}) {
      PyObject* const held = PyDict_GetItemString(dict, kind);
      PyObject *key, *value;
      if (!held || !PyDict_Check(held)) continue;
      for (Py_ssize_t at = 0; PyDict_Next(held, &at, &key, &value);)
        if (value != Py_None && !entry.scan->tensors.contains(value) &&
            (recorder_.node_of(value) != kNoNode || recorder_.scan().tensors.contains(value)))
          refuse("a call of " + entry.text + " with other tensors than its own");
    }
  }
}

void GivenModules::rollback(NodeId first) {
  while (!order_.empty() && known_.at(order_.back()).node >= first) {
    known_.erase(order_.back());
    order_.pop_back();
  }
  std::erase_if(tensors_, [&](const auto& entry) { return entry.second.node >= first; });
}

}  // namespace modulize
