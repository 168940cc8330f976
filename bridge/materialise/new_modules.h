// The modules that passes created, made and put into the cloned tree.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/python/python.h"
#include "ir/module_tree.h"

namespace modulize {

/// Attribute of a module: {name of a tensor: (owner module, name there)}, for tensors that stand under several names.
inline constexpr const char* kTiedAttribute = "_modulize_tied";
/// Attribute of a container: names of children that its indices and iteration do not show.
inline constexpr const char* kAddedAttribute = "_modulize_added";
/// Attribute of a module: names of buffers that hold constants of the graph.
inline constexpr const char* kConstantsAttribute = "_modulize_constants";

class NewModules {
 public:
  /// `root`: the clone. `objects`: what the graph's opaque values stand for. Both must outlive this.
  NewModules(nb::handle root, const std::vector<nb::object>& objects) : root_(root.ptr()), objects_(objects) {}

  const std::vector<nb::object>& objects() const { return objects_; }
  /// Makes what `spec` says and registers it at its path. Nothing is done for existing modules and for graphs.
  void add(const ModuleSpec& spec);
  /// A copy of the module at spec.copy_of without its children: for a further call of a block.
  nb::object copy_block(const ModuleSpec& spec);
  /// Registers `tensor` as a buffer at `path` that no state_dict holds.
  void add_constant(std::string_view path, nb::handle tensor);
  /// Registers `module` as a child; the containers among the parents go on showing their own children only.
  void add_child(std::string_view path, nb::handle module);

 private:
  struct Prototype {
    ValueList args;
    std::vector<std::pair<std::string, Value>> kwargs;
    nb::object module;
  };
  nb::object construct(const ModuleSpec& spec);
  nb::object call_class(const ModuleSpec& spec, bool on_meta);
  nb::object copy_of(const ModuleSpec& spec, bool as_block = false);
  void adopt(nb::handle module, const ModuleSpec& spec);
  PyObject* parent_of(std::string_view path) const;

  PyObject* root_;
  const std::vector<nb::object>& objects_;
  std::unordered_map<std::string, std::vector<Prototype>> prototypes_;  // by class name
};

/// Notes under kTiedAttribute which tensors of the tree stand under more than one name: the model's own ties.
/// A new class for a prepared module that stands for this one.
nb::object prepared_class_of(PyObject* module);

class TreeClone;
void note_own_ties(const TreeClone& tree);

}  // namespace modulize
