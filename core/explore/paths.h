// Ways through one forward that sizes decide: captures with other sizes, as branches of the first.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// A capture with other sizes in which something that is no value of a tensor came out otherwise than in the first.
struct SizePath {
  const Graph* graph;  // borrowed; settled itself, with the objects and constants of the first
  NodeId check;        // in the first graph: what the first took for granted there (is_size_decision)
  NodeId other;        // the same check in `graph`, which expects the opposite
};

/// Is the node a check that a number is a certain truth?
bool is_size_decision(const Node& node);

/// The first graph with a branch at each of the checks, which are different ones. A path says what forward does from
/// its check on, whatever is decided later, so that the last check is merged first. What a path has shown to be
/// harmless (its leaks are gone) may still matter on another: the leaks that are left stand behind the checks. Returns
/// nothing, and the reason in `why`, where the paths cannot be merged (explore/merge.h).
std::optional<Graph> merge_paths(const Graph& first, std::vector<SizePath> paths, std::string* why);

}  // namespace modulize
