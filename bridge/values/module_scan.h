// The user's module tree, walked once: paths of modules and tensors, and which modules are leaves.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

struct ModuleScan {
  struct Entry {
    PyObject* module;  // borrowed: the root holds it
    nb::object type;   // its class
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

/// Does the forward of the class ask whether a function mode is on the stack, as layers with kernels of their own do?
bool asks_for_function_modes(PyTypeObject* type);

/// Has the module forward hooks or pre-hooks that may change something?
bool has_hooks(PyObject* module);

/// The `__dict__` of an instance, borrowed; null where it has none.
PyObject* attribute_dict(PyObject* object);

/// What nn.Module keeps for itself: an attribute that a new module has.
bool is_bookkeeping(PyObject* name);

/// Of that, what holds hooks and the like, no parts of the model: forward rarely fills one that is empty.
bool is_registry(PyObject* name);

/// "path.name"; the name alone for the root.
std::string full_name(const std::string& path, const std::string& name);

}  // namespace modulize
