// What the graph knows of modules and tensors by path: enough to decide every rewrite without Python.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ir/value.h"

namespace modulize {

class Graph;

enum class ModuleKind : std::uint8_t {
  existing,     // an object of the user's model
  constructed,  // a constructor call: in source graphs of tests, and of what passes create
  copy,         // a further object made from the module at `copy_of`, sharing its tensors unless `untied`
  graph,        // a Graph of its own, called like any module (a kept block)
  branch,       // called with a condition and values: runs one of two Graphs on the values
};

/// One module that is called, or that is the scope of a node. Text form, one line each:
///   module conv1 = existing torch.nn.Conv2d
///   module layer1.0 = existing torchvision.models.resnet.BasicBlock training
///   module module_relu = torch.nn.ReLU(inplace=True) for relu
///   module module_conv2d = torch.nn.Conv2d(3, 8, (3, 3)) for conv2d adopt weight=w, bias=b
///   module module_conv1 = copy conv1 for conv1
///   module module_conv1 = copy conv1 untied for conv1
///   module block = graph inner { ... }
///   module module_block_1 = graph inner { ... } copy block for block
///   module module_branch = branch graph on_true { ... } else graph on_false { ... }
struct ModuleSpec {
  std::string path;
  ModuleKind kind = ModuleKind::existing;
  std::string type;  // qualified class name; existing and constructed only
  ValueList args;    // constructor arguments; constructed only
  std::vector<std::pair<std::string, Value>> kwargs;
  /// Set for modules that a pass created: the base name that its call is numbered under (see namer.h).
  std::string base;
  /// copy. graph: the block is a further call of the module at this path of the outermost tree, and has its direct
  /// tensors.
  std::string copy_of;
  /// copy, graph with `copy_of`: holds tensors of its own, equal at the start.
  bool untied = false;
  /// (name inside the module, path of the model's tensor it holds): the module owns no tensor of its own then.
  std::vector<std::pair<std::string, std::string>> adopts;
  /// The mode flag of an existing module when it was captured.
  bool training = false;
  /// graph: its program, over the tree below it. branch: what runs where the condition is true, and otherwise; their
  /// paths are those of the graph that the branch stands in.
  std::shared_ptr<const Graph> graph, graph_else;
};

enum class TensorKind : std::uint8_t { parameter, buffer, constant };

/// A tensor that the model holds, by its first path. Text form: `parameter fc.weight: f32[10, 20]`.
/// `dtype` is torch's name without "torch." ("float32"); the text form uses the same names.
struct TensorSpec {
  std::string path;
  TensorKind kind = TensorKind::parameter;
  std::string dtype;
  std::vector<std::int64_t> shape;
};

/// Modules and tensors by path, in order of insertion (which is the printed order).
class ModuleTree {
 public:
  /// Adds a module. Throws Error(VerifierError) if the path names a module or tensor already.
  /// The reference is valid until the next add.
  ModuleSpec& add(ModuleSpec spec);
  void add_tensor(TensorSpec spec);
  /// Marks a name as taken by something that is neither (an attribute or a method of the user's class).
  void add_taken(std::string path);

  /// Borrowed: valid until the tree is edited. Null when `path` names a tensor or nothing at all.
  const ModuleSpec* find(std::string_view path) const;
  ModuleSpec* find(std::string_view path);
  const TensorSpec* find_tensor(std::string_view path) const;
  /// True if the path may not be given to a new module.
  bool is_taken(std::string_view path) const;

  const std::vector<ModuleSpec>& modules() const { return modules_; }
  const std::vector<TensorSpec>& tensors() const { return tensors_; }
  const std::vector<std::string>& taken() const { return taken_; }
  /// Drops the modules for which `keep(spec)` is false.
  template <class Fn>
  void filter(Fn&& keep) {
    std::vector<ModuleSpec> kept;
    for (ModuleSpec& spec : modules_)
      if (keep(static_cast<const ModuleSpec&>(spec))) kept.push_back(std::move(spec));
    modules_ = std::move(kept);
    reindex();
  }

 private:
  enum class What : std::uint8_t { module, tensor, taken };
  void reindex();

  std::vector<ModuleSpec> modules_;
  std::vector<TensorSpec> tensors_;
  std::vector<std::string> taken_;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view path) const { return std::hash<std::string_view>()(path); }
  };
  std::unordered_map<std::string, std::pair<What, std::size_t>, Hash, std::equal_to<>> index_;
};

}  // namespace modulize
