// State that forward writes on modules: attributes, buffers put anew, containers and objects that they hold.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/record/capture.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/parts.h"

namespace modulize {

class Recorder;

/// The containers and objects that hang on attributes of modules, as they were at construction.
class ObjectState {
 public:
  /// Takes in `value` and what it holds. `name`: where it stands, for `restore`.
  void add(PyObject* value, const std::string& name);
  /// Everything that stands in attributes of modules, but of torch's own.
  void add_attributes_of(const ModuleScan& scan);
  /// The parts that a container had; null for one that was not there.
  const std::vector<Part>* parts(PyObject* container) const;
  /// True if the container, or one that it held, has other parts now.
  bool is_changed(PyObject* container) const;
  /// Puts back every container that has changed; the names of those.
  std::vector<std::string> restore();

 private:
  bool is_changed(PyObject* container, std::unordered_map<PyObject*, bool>& seen) const;
  struct Entry {
    nb::object object;
    std::vector<Part> parts;
    std::string name;
  };
  std::unordered_map<PyObject*, Entry> entries_;
};

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

/// How the attributes that a first capture saw written are to be captured. Those whose content changes no result
/// (tables made for a size) stay as they are before the first call, so that the prepared model makes them at every
/// call; any other becomes live. Runs the model a few times and puts everything back.
StatePlan plan_state(nb::handle root, const CaptureOptions& options, const Capture& first);

/// Gives the prepared model objects of its own where forward writes into those that attributes hold.
void own_written_objects(nb::handle prepared, const Capture& capture);

}  // namespace modulize
