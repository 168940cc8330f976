// Modules that forward is given as arguments: which node yields each, and what forward reads from them.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/values/module_scan.h"
#include "ir/graph.h"

namespace modulize {

class Recorder;

/// A module among the arguments is an opaque handle: its call is recorded as a call of what the argument yields, and
/// what forward reads from it is read there: tensors and children are values of getattr nodes, anything else is checked
/// when the prepared model is called. What cannot be followed so is kept whole. GIL held; throws Error, KeepRequest or
/// nb::python_error.
class GivenModules {
 public:
  explicit GivenModules(Recorder& recorder) : recorder_(recorder) {}
  GivenModules(const GivenModules&) = delete;
  GivenModules& operator=(const GivenModules&) = delete;

  /// What forward is given for a module: itself. For one of the model's own, which forward may reach in another way as
  /// well, another object with the same attributes.
  nb::object stand_in(nb::handle module);
  /// `node` yields `module`, a result of stand_in; `text` says where it stands, for people.
  void give(nb::handle module, NodeId node, const std::string& text);

  bool empty() const { return known_.empty(); }
  bool knows(PyObject* module) const { return known_.contains(module); }
  /// The node that yields a given module; kNoNode for any other object.
  NodeId node_of(PyObject* module) const;
  /// The node that reads a tensor of a given module; kNoNode for one that forward has not read.
  NodeId node_of_tensor(PyObject* tensor) const;
  /// "argument 'head'", of one that is known.
  const std::string& text_of(PyObject* module) const { return known_.at(module).text; }

  /// Forward has read `value` from attribute `name`. Records that.
  void read(PyObject* module, PyObject* name, PyObject* value);
  /// It has asked for an attribute that is not there.
  void missed(PyObject* module, PyObject* name);
  /// Refuses a write of an attribute.
  [[noreturn]] void refuse_write(PyObject* module, PyObject* name);
  /// Refuses a call while other tensors than its own stand in the module.
  void require_own_tensors(PyObject* module);

  /// Forgets what nodes from `first` on yield.
  void rollback(NodeId first);

 private:
  struct Entry {
    nb::object module;
    NodeId node;
    std::string text;
    const ModuleScan* scan;  // of the argument that it is, or is a part of
  };
  [[noreturn]] void refuse(const std::string& what);
  void read_registry(PyObject* module, PyObject* name, PyObject* registry);
  void add(nb::handle module, NodeId node, const std::string& text, const ModuleScan* scan);

  Recorder& recorder_;
  std::unordered_map<PyObject*, Entry> known_;
  std::vector<PyObject*> order_;
  struct Tensor {
    nb::object tensor;
    NodeId node;
  };
  std::unordered_map<PyObject*, Tensor> tensors_;
  std::unordered_map<PyObject*, nb::object> stand_ins_;  // by the module of the model
  std::vector<std::unique_ptr<ModuleScan>> scans_;
};

}  // namespace modulize
