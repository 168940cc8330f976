// Graph -> Python source of its forward.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace modulize {

enum class ModuleAccess {
  attribute,  // self.layer1[0].conv1(x): what a person reads (`.code`)
  lookup,     // prefix locals over `_modules` dicts: what runs fast
};

/// What the generator may ask about the live module tree, by path. An empty function means the default.
struct TreeQueries {
  /// The path names a registered module, so that `_modules` of its parent has it. Default: yes, for every prefix.
  std::function<bool(std::string_view)> is_module;
  /// Reading the last part as an attribute of the parent yields the module: nothing hides it. Default: yes, but for
  /// what torch.fx.GraphModule hides on the root.
  std::function<bool(std::string_view)> is_attribute;
  /// `parent[3]` yields the module `parent.3`. Default: no.
  std::function<bool(std::string_view)> is_index;
};

struct CodegenOptions {
  ModuleAccess access = ModuleAccess::lookup;
  /// A function of more lines is cut into pieces, each compiled on its own (one huge function compiles in gigabytes).
  std::size_t chunk_lines = 2000;
  TreeQueries tree = {};
  /// Shorter spellings of qualified names, by prefix: {"torch.nn.functional.", "F"} makes `F.relu`. Who runs the
  /// source defines `F`.
  std::vector<std::pair<std::string, std::string>> spellings = {};
  /// What a check calls the file of its place. Default: as the graph has it.
  std::function<std::string(const std::string&)> shown_file = {};
  /// forward hands a call by a torch.fx tracer to `modulize._prepared`: statements such as `x[i] = y` and
  /// questions such as `len(x)` would stop at its proxies, while the graph has them as nodes.
  bool replayed_by_tracers = false;
};

struct GeneratedSource {
  /// The pieces in order of definition, each a complete `def`; compile one by one into one namespace.
  /// The last defines `forward(self, ...)`.
  std::vector<std::string> pieces;
  /// Top-level packages that the source names ("torch", "operator", "modulize"): must be in the namespace.
  std::vector<std::string> imports;
  /// Names in the namespace that stand for opaque objects: ("_object_7", 7).
  std::vector<std::pair<std::string, ObjectId>> objects;
  /// Further names in the namespace and the qualified name that each stands for: ("_global_len", "builtins.len").
  /// Needed where a parameter of forward hides a name that the source wants.
  std::vector<std::pair<std::string, std::string>> aliases;
  /// Every qualified name that the source reads ("torch.nn.functional.relu"): must be importable.
  std::vector<std::string> names;
  /// By piece: the node whose statement each line is, the line of the `def` left out; kNoNode where it is none's.
  std::vector<std::vector<NodeId>> line_nodes;

  /// The pieces as one text.
  std::string text() const;
};

/// Every name in the source is either made by us or checked to be an identifier: text from the model can never become
/// code. Throws Error(ModulizeError) where a name cannot be spelled. Deterministic.
GeneratedSource generate(const Graph& graph, const CodegenOptions& options);

}  // namespace modulize
