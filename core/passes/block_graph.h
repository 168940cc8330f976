// The graph that a block is by itself.
#pragma once

#include <memory>

#include "passes/block.h"

namespace modulize {

struct BlockGraph {
  std::shared_ptr<const Graph> graph;
  /// Further parameters, by keyword: their names, and the nodes around the block that stand for them.
  std::vector<std::pair<std::string, NodeId>> further;
  std::string taken;  // name of the parameter for the dict that takes what is handed out; empty without
};

/// Copies the nodes of `block` out of `around` into a graph called `name`, and moves the part of the module tree that
/// they name. `handed_out`: nodes that leave the block in another way than in its result.
BlockGraph build_block_graph(Graph& around, const OutlinedBlock& block, const std::vector<NodeId>& handed_out,
                             std::string name);

}  // namespace modulize
