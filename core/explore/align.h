// Which nodes of two captures of the same forward are the same step.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace modulize {

struct Alignment {
  /// Living nodes in execution order.
  std::vector<NodeId> first, second;
  /// By position in `first`/`second`: the position of the partner, or -1.
  std::vector<std::int32_t> partner_of_first, partner_of_second;
};

/// The longest common subsequence of the two node lists, by opcode, target, form of the call, scope and source line;
/// what the arguments are does not matter. Nothing if more than `limit` nodes differ. E. Myers, "An O(ND) Difference
/// Algorithm and Its Variations", Algorithmica 1 (1986).
std::optional<Alignment> align(const Graph& first, const Graph& second, std::size_t limit = 6000);

}  // namespace modulize
