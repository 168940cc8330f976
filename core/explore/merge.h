// Captures of one forward under different outcomes of its decisions, merged into one graph with branches.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// What decides between two captures at one place.
struct Condition {
  NodeId decision = kNoNode;  // in the first graph: a truth node; kNoNode: `flag` decides
  std::string flag;           // path of a mode flag: "layer1.training"
  bool first_is_true = true;  // the condition's value under which the first capture was made
};

/// One further capture. It refers to modules, tensors, objects and constants by the same names and numbers as the
/// first.
struct Variant {
  const Graph* graph;  // borrowed; explored itself, so that it may hold branches
  /// The condition for a difference: `a` is the node of the first graph that stands at or after it, `b` likewise.
  std::function<Condition(NodeId a, NodeId b)> condition;
};

/// A decision whose other outcome makes forward raise.
struct Requirement {
  NodeId decision;  // in the first graph
  bool expected;
  Value error;  // an object: the exception
};

struct Merged {
  Graph graph;
  /// Nodes of the first graph -> where they stand in `graph`.
  std::unordered_map<NodeId, NodeId> of_first;
  /// For each variant the same of its nodes that have no partner in the first graph.
  std::vector<std::unordered_map<NodeId, NodeId>> of_variant;
};

/// The graph that does what `first` does where no condition differs, and what a variant does where its condition is the
/// other way. Exact for each single variant; what several do together is for `linearise` (explore/linearise.h) and a
/// further capture to show. Returns nothing, and the reason in `why`, if the captures have too little in common or
/// their differences overlap. The first graph and the variants may hold brackets of branches.
std::optional<Merged> merge(const Graph& first, const std::vector<Variant>& variants,
                            const std::vector<Requirement>& requirements, std::string* why);

/// Selections between True and False by a mode flag are the flag itself. Once nothing is predicted any more.
void simplify_selections(Graph& graph);

}  // namespace modulize
