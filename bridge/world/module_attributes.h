// Region of the world: the attributes of modules, their hooks, modes and classes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bridge/values/module_scan.h"

namespace modulize {

/// What forward may assign while it runs: the attributes of all modules. Takes shallow copies; `restore` puts back what
/// changed and returns the "path.attribute" names that had.
class ModuleAttributes {
 public:
  explicit ModuleAttributes(const ModuleScan& scan);
  ModuleAttributes(const ModuleAttributes&) = delete;
  ModuleAttributes& operator=(const ModuleAttributes&) = delete;
  std::vector<std::string> restore();

 private:
  struct Dict {
    nb::object live;
    nb::object copy;
    const std::string* path;
    nb::object attribute;   // the one that holds it; invalid for what is a module's own, whose keys are attributes
    std::uint64_t version;  // of `live`; 0 where Python tells none
  };
  struct Container {  // a list or set attribute
    nb::object live;
    nb::object copy;  // a list
    const std::string* path;
    std::string name;
  };
  std::vector<Dict> dicts_;
  std::vector<std::pair<PyObject*, nb::object>> classes_;  // module, borrowed -> its class
  std::vector<nb::object> empty_;  // registries of nn.Module that were empty: forward may register hooks
  std::vector<Container> containers_;
};

}  // namespace modulize
