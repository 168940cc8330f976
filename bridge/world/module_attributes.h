// The attributes of modules and the contents of buffers, as they were before forward ran.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bridge/values/module_scan.h"

namespace modulize {

/// What forward may assign while it runs: the attributes of all modules. Takes shallow copies; `restore` puts back what
/// changed and returns the "path.attribute" names that had.
class StateSnapshot {
 public:
  explicit StateSnapshot(const ModuleScan& scan, bool with_values);
  StateSnapshot(const StateSnapshot&) = delete;
  StateSnapshot& operator=(const StateSnapshot&) = delete;
  std::vector<std::string> restore();

 private:
  struct Dict {
    nb::object live;
    nb::object copy;
    const std::string* path;
    nb::object attribute;   // the one that holds it; invalid for what is a module's own, whose keys are attributes
    std::uint64_t version;  // of `live`; 0 where Python tells none
  };
  struct Buffer {
    nb::object live;
    const std::string* module;
    PyObject* name;   // borrowed from the saved dict
    nb::object copy;  // a tensor; invalid where the bytes are copied
    std::unique_ptr<char[]> bytes;
    std::size_t size;  // of `bytes`
  };
  static bool save_bytes(Buffer& buffer);
  static bool is_changed(const Buffer& buffer);
  static nb::object copy_of(const Buffer& buffer);
  struct Container {  // a list or set attribute
    nb::object live;
    nb::object copy;  // a list
    const std::string* path;
    std::string name;
  };
  std::vector<Dict> dicts_;
  std::vector<nb::object> empty_;  // registries of nn.Module that were empty: forward may register hooks
  std::vector<Container> containers_;
  std::vector<Buffer> buffers_;
};

}  // namespace modulize
