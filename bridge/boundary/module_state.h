// State that forward writes on modules: attributes, buffers put anew, containers and objects that they hold.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/record/capture.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/parts.h"
#include "bridge/world/containers.h"

namespace modulize {

class Recorder;

/// Watches the attributes of the modules that are traced through during one capture.
class StateWrites {
 public:
  StateWrites(Recorder& recorder, const StatePlan* plan);

  /// Before forward: what the plan calls live is read by nodes.
  void make_live();
  /// Records what forward has written since the last time: at its end, and before a call whose inside is not recorded.
  /// Names the attributes in Capture::state_writes.
  void record();
  /// After such a call: what it wrote itself is read by nodes from now on.
  void reread();
  /// Puts back what StateSnapshot does not see.
  std::vector<std::string> restore() { return objects_.restore(); }

 private:
  struct Module {
    nb::object module;
    const std::string* path;
    std::vector<Part> attributes;
  };
  static std::vector<Part> attributes_of(PyObject* module);
  NodeId owner(const Module& module);
  NodeId attribute(const Module& module, const std::string& name, ValueType type);
  void make_live(Module& module, const std::string& name);
  void know(PyObject* container, NodeId node, std::unordered_map<PyObject*, bool>& seen);

  Recorder& recorder_;
  const StatePlan* plan_;
  std::vector<Module> modules_;
  ObjectState objects_;
  std::unordered_map<const std::string*, NodeId> owners_;
};

}  // namespace modulize
