// The user's module tree, walked once: paths of modules and tensors, and which modules are leaves.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

struct ModuleScan {
  struct Entry {
    PyObject* module;  // borrowed: the root holds it
    std::string path;  // the first one
  };
  std::vector<Entry> modules;  // in order of Module.named_modules()
  std::unordered_map<PyObject*, std::size_t> module_index;
  /// Parameters, buffers and plain tensor attributes, by their first path; all later paths of the same tensor too.
  std::unordered_map<PyObject*, std::string> tensors;

  /// Paths of children, attributes and methods whose names begin with "module_".
  std::vector<std::string> taken;

  /// The path of a module of the tree; null for any other object.
  const std::string* path_of(PyObject* module) const {
    const auto it = module_index.find(module);
    return it == module_index.end() ? nullptr : &modules[it->second].path;
  }
};

/// Walks the tree below `root`. Throws UnsupportedError for lazy modules that have no shapes yet.
ModuleScan scan_modules(nb::handle root);

/// torch.nn's own modules but Sequential, the rule of torch.fx: called as a whole, never traced through.
bool is_library_leaf(PyTypeObject* type);

/// The qualified name of a class: "torch.nn.modules.conv.Conv2d" is given as its public "torch.nn.Conv2d".
std::string class_name(PyTypeObject* type);

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
