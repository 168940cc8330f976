// What a rule about a model looks at. Each find_<rule> is defined in <rule>.cpp; validate.cpp has their order, and what
// they share.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/namer.h"
#include "validate/validate.h"

namespace modulize {

/// A graph of the model and the path of the module that its own paths start from.
struct GraphPart {
  const Graph* graph;
  std::string root;

  std::string path(std::string_view inside) const { return inside.empty() ? root : join_path(root, inside); }
};

struct ModelView {
  /// The graph itself, blocks that are graphs of their own, and both sides of branches.
  std::vector<GraphPart> parts;
  const ModelFacts& facts;
  /// Paths of the modules that are called, and of those whose tensors are read without a call, as by
  /// F.linear(x, self.fc.weight).
  std::set<std::string, std::less<>> called = {}, read = {};

  /// Does the module run or lend its tensors, itself or inside of one that is called as one?
  bool is_used(std::string_view path) const;

  /// Calls `fn(part, node)` for every node of every part.
  template <class Fn>
  void for_each_node(Fn&& fn) const {
    for (const GraphPart& part : parts)
      for (const NodeId id : part.graph->order()) fn(part, (*part.graph)[id]);
  }
};

using Findings = std::vector<Finding>;

void find_reused_modules(const ModelView& model, Findings& out);
void find_functionals(const ModelView& model, Findings& out);
void find_opaque_modules(const ModelView& model, Findings& out);
void find_control_flow(const ModelView& model, Findings& out);
void find_non_tensors(const ModelView& model, Findings& out);
void find_unused_modules(const ModelView& model, Findings& out);
void find_shared_parameters(const ModelView& model, Findings& out);

/// Is this class one that quantization tools know: torch.nn's own, ours, or one that stands in the op table?
bool is_known_class(std::string_view type);

/// "BatchNorm2d" of "torch.nn.BatchNorm2d".
inline std::string_view class_name(std::string_view type) { return type.substr(type.rfind('.') + 1); }

/// "'layer1.0'", or "the model" for the root.
std::string shown_path(std::string_view path);

}  // namespace modulize
