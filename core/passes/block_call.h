// The call of a block in the graph around it.
#pragma once

#include "passes/block_graph.h"

namespace modulize {

/// Which values of a block are read behind it, and how they leave.
struct BlockOutputs {
  std::vector<NodeId> read;             // behind the block
  std::map<NodeId, ValuePath> results;  // those that are in what it returns
  std::vector<NodeId> handed_out;       // those that a dict takes
};

/// Writes the call in front of the block's end, and lets all behind it read what the call gives. The nodes of the block
/// are still there. Returns the call.
NodeId write_block_call(Graph& graph, const OutlinedBlock& block, const BlockGraph& inner, const BlockOutputs& outputs);

}  // namespace modulize
