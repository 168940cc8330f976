// The containers and objects that hang on attributes of modules.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/values/module_scan.h"
#include "bridge/values/parts.h"

namespace modulize {

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

}  // namespace modulize
