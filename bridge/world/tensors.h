// Region of the world: Parameters, buffers and plain tensors of modules: contents, gradients, requires_grad.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "bridge/values/module_scan.h"

namespace modulize {

/// The model's tensors as they were at construction. A copy of all of them would double a model's memory: contents are
/// copied before they are written, as who runs code tells. GIL held; throws nb::python_error.
class Tensors {
 public:
  /// `scan` must outlive this. `with_values`: forward runs on values, so that tensors may get other memory.
  Tensors(const ModuleScan& scan, bool with_values);

  /// Something is about to write the memory of `tensor`, or may: the model's tensors that lie there are copied.
  void before_write(PyObject* tensor);
  /// The same of a tensor that nothing recorded made and no module holds, such as a global.
  void before_write_elsewhere(PyObject* tensor);
  /// A backward pass is about to add to gradients.
  void before_backward();
  /// The model's tensors that have been copied, in the order of their writes.
  const std::vector<nb::object>& written() const { return written_; }
  /// Puts everything back; the paths of what had changed are added to `changed`.
  void restore(std::vector<std::string>& changed);

 private:
  struct Entry {
    PyObject* tensor;  // borrowed from the model
    const std::string* path;
    bool requires_grad;
    nb::object grad;    // of Parameters; invalid for others
    nb::object memory;  // an alias of what it had; invalid where that is not looked at
  };
  struct Copied {
    nb::object tensor, copy;
    const std::string* path;  // null for one that no module holds
  };

  const ModuleScan& scan_;
  std::vector<Entry> entries_;
  std::multimap<std::uintptr_t, PyObject*> unsaved_;  // where the data of the model's tensors begins -> tensor
  bool unsaved_known_ = false;
  bool gradients_saved_ = false;
  std::vector<Copied> copied_;
  std::unordered_set<PyObject*> elsewhere_;  // borrowed: copied_ holds them
  std::vector<nb::object> written_;
};

}  // namespace modulize
