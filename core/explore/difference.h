// Where captures of one forward differ: what a merge has to write as branches and selections.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "explore/align.h"
#include "explore/merge.h"

namespace modulize {

/// Thrown where captures cannot be merged; `why` is for people.
class MergeFailure {
 public:
  std::string why;
};

/// A stretch that the first graph and one variant have otherwise; either side may be empty.
struct Hunk {
  std::size_t variant;
  std::int32_t begin, end;              // positions in the first graph, half open
  std::int32_t other_begin, other_end;  // positions in the variant
  Condition condition;

  bool holds(std::int32_t position) const { return begin <= position && position < end; }
};

/// An argument of a node of the first graph that variant `variant` has otherwise.
struct Change {
  std::size_t variant;
  Value other;  // in the variant's nodes
  Condition condition;
};

/// An argument of a node of the first graph: the number of the argument, keywords behind positions, then the items to
/// follow inside of it.
struct Place {
  NodeId node;
  std::vector<std::uint32_t> path;
  bool operator<(const Place& other) const { return std::tie(node, path) < std::tie(other.node, other.path); }
};

const Value& argument_at(const Node& node, const std::vector<std::uint32_t>& path);

/// A node of one of the graphs: graph 0 is the first, graph v + 1 is variant v.
struct Ref {
  std::size_t graph;
  NodeId node;
  bool operator==(const Ref&) const = default;
  bool operator<(const Ref& other) const { return std::tie(graph, node) < std::tie(other.graph, other.node); }
};

/// The first graph against all variants. Borrows them.
struct Differences {
  Differences(const Graph& first, const std::vector<Variant>& variants);

  const Graph& graph(std::size_t g) const { return g == 0 ? first : *variants[g - 1].graph; }
  /// The node of the first graph that a variant's node is the same step as, else the node itself.
  Ref resolved(std::size_t g, NodeId node) const;
  bool has_changes(NodeId node) const;
  /// Is the node of the first graph in the stretch that the hunk replaces?
  bool is_inside(const Hunk& hunk, NodeId node) const { return hunk.holds(position.at(node)); }

  const Graph& first;
  const std::vector<Variant>& variants;
  std::vector<NodeId> order;  // of the first graph
  std::unordered_map<NodeId, std::int32_t> position;
  // By variant:
  std::vector<Alignment> alignments;
  std::vector<std::unordered_map<NodeId, NodeId>> partners;  // node of the variant -> node of the first
  std::vector<Hunk> hunks;                                   // of one variant in order, one variant after the other
  std::map<Place, std::vector<Change>> changes;              // in the order of the variants
};

/// Throws MergeFailure where a variant has too little in common with the first graph, or no output.
Differences find_differences(const Graph& first, const std::vector<Variant>& variants);

}  // namespace modulize
