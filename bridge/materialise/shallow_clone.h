// A second tree of modules over the same Parameters and buffers.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

/// Clones every module reachable through `_modules`: same class, own `__dict__`, and own copies of the dicts, lists and
/// sets in it, one level deep. Attributes that refer to modules of the tree (directly, in containers, bound methods,
/// weak references) refer to the clones. The originals are not changed.
class TreeClone {
 public:
  struct Entry {
    nb::object original, clone;
    std::string path;  // the first one, in order of named_modules()
  };
  /// A module that both trees hold, and why.
  struct Shared {
    std::string path, reason;
  };

  /// The classes that the clones of some modules get: a class that is assigned later must have the same layout, which
  /// no class with another first base has where the module's own is written `class Block(ABC, nn.Module)`.
  using Classes = std::unordered_map<PyObject*, nb::object>;

  /// `classes`: of clones that are not to have the class of their original. Throws Error(UnsupportedError) for lazy
  /// modules without shapes, and where the root or a module of `classes` cannot be cloned.
  explicit TreeClone(nb::handle root, const Classes& classes = {});

  nb::object root() const { return entries_.front().clone; }
  /// In order of named_modules(), shared modules left out.
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<Shared>& shared() const { return shared_; }

  /// The object with every module of the tree replaced by its clone, as for attributes; the object itself where there
  /// is none to replace.
  nb::object rebound_object(nb::handle object) {
    nb::object own = rebound(object.ptr(), 1);
    return own.is_valid() ? own : nb::borrow(object);
  }

 private:
  nb::object rebound_function(PyObject* function, int depth);
  nb::object clone_one(PyObject* original, const Classes& classes, const std::string& path);
  void fix_references(const Entry& entry);
  nb::object rebound(PyObject* value, int depth);
  nb::object rebound_items(PyObject* fast, Py_ssize_t size, int depth);
  nb::object rebound_hook(PyObject* hook, int depth);
  nb::object rebound_partial(PyObject* partial, int depth);
  PyObject* clone_of(PyObject* object) const {
    const auto it = memo_.find(object);
    return it == memo_.end() ? nullptr : it->second;
  }

  std::vector<Entry> entries_;
  std::vector<Shared> shared_;
  std::unordered_map<PyObject*, PyObject*> memo_;  // original -> clone, or itself where shared; borrowed
};

/// A new instance of the class with this `__dict__` (not copied), made without its __new__ and __init__. Null, with no
/// Python error set, where object.__new__ refuses the class.
nb::object instance_with_dict(PyTypeObject* type, nb::handle dict);

/// A copy of `__dict__` with own copies of the containers in it, one level deep.
nb::object copy_dict_one_level(PyObject* dict);

}  // namespace modulize
