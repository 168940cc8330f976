// The world of a model as it was, and how it is put back. Each region has a file of its own in this folder; nothing
// else saves or restores.
//
//   region       what forward may change there                                        found by
//   generators   torch's, cuda's, Python's, numpy's, those held or given              their states
//   attributes   dictionaries, hooks, modes and classes of modules                    identity, dict versions
//   buffers      contents                                                             their bytes
//   containers   lists, dicts, sets and objects that attributes hold                  identity of their parts
//   tensors      contents of Parameters and plain tensors, memory, gradients, flags   copies before writes, identity
//   outside      globals, closures, class attributes, defaults that the code names    identity of their parts
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bridge/world/buffers.h"
#include "bridge/world/containers.h"
#include "bridge/world/generators.h"
#include "bridge/world/module_attributes.h"
#include "bridge/world/outside_state.h"
#include "bridge/world/tensors.h"

namespace modulize {

/// Saves at construction, restores in `restore` or, whatever happens, at its end, where a Python error that is on its
/// way stays as it is. Gradients are off meanwhile. GIL held; the constructor and `restore` throw nb::python_error.
class Checkpoint {
 public:
  struct Options {
    bool with_values = true;      // forward runs on values: buffers and tensors may be written
    bool with_containers = true;  // what attributes hold is walked
    /// What the code of the model names; null: it is not looked at. Made before, as a walk over code is dear.
    std::shared_ptr<const OutsideState> outside = {};
    /// Generators among these are put back too.
    std::vector<nb::object> generators = {};
    /// Modules among these values (arguments, a model around this one) are put back as the model is. Invalid: none.
    nb::object given = {};
    bool gradients_off = true;
  };
  /// `scan` must outlive this.
  Checkpoint(const ModuleScan& scan, const Options& options);
  ~Checkpoint();
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  /// Something is about to write the memory of `tensor`, or may: what the model or a given module has there is copied.
  void before_write(PyObject* tensor);
  /// A backward pass is about to add to gradients.
  void before_backward();
  /// The tensors that have been copied, in the order of their writes.
  std::vector<nb::object> written() const;
  /// Puts everything back, once. Returns the paths of attributes, buffers and tensors of the model that had changed.
  std::vector<std::string> restore();
  /// What forward left outside of the model, as it was when `restore` ran; empty where that is nothing.
  OutsideChanges take_outside_changes() { return std::move(outside_changes_); }

  Generators& generators() { return *generators_; }
  Tensors& tensors() { return *tensors_; }
  /// Everything that a given module may write may be written: nobody tells.
  void before_writes_of_given();
  ObjectState& containers() { return containers_; }
  bool gradients_were_enabled() const { return gradients_.is(nb::handle(Py_True)); }

 private:
  nb::object gradients_;  // whether they were on
  bool is_restored_ = false;
  std::shared_ptr<const OutsideState> outside_;
  OutsideChanges outside_changes_;
  std::optional<Generators> generators_;
  std::optional<ModuleAttributes> attributes_;
  std::optional<Buffers> buffers_;  // none where forward does not run on values
  std::optional<Tensors> tensors_;
  ObjectState containers_;
  struct Given;
  std::vector<std::unique_ptr<Given>> given_;
};

}  // namespace modulize
