// One way through a graph with branches.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <unordered_map>

#include "ir/graph.h"

namespace modulize {

/// The value of a mode flag.
using ModeFlags = std::function<bool(const std::string& path)>;

/// The nodes that run for these outcomes (truth node -> outcome) and mode flags (by path), without brackets, selections
/// and requirements: what a capture under these outcomes records. Truth nodes that `outcomes` lacks throw Error. Those
/// among `idle`, which change nothing, are left out.
Graph linearise(const Graph& merged, const std::unordered_map<NodeId, bool>& outcomes, const ModeFlags& flags = {},
                const std::set<NodeId>& idle = {});

}  // namespace modulize
