// The names that torch.fx gives to the nodes of a graph (torch/fx/graph.py, _Namespace).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "ir/graph.h"

namespace modulize {

/// Gives out names as torch.fx does: a trailing `_<digits>` is the counter, Python's own names start at `_1`, a taken
/// name counts up.
class FxNamespace {
 public:
  std::string create_name(std::string_view candidate);

 private:
  std::unordered_set<std::string> used_;
  std::unordered_map<std::string, std::uint64_t> base_count_;
};

/// What torch.fx calls a node before it counts: `layer1_0_conv1`, `truediv`, `add` for `x += y` too. Empty for nodes
/// that torch.fx would not have: reads of a mode flag, checks, brackets of branches and regions.
std::string fx_candidate(const Node& node);

/// The number at the end of a name: 3 for "relu_3", nothing for "relu".
std::string_view trailing_number(std::string_view name);

}  // namespace modulize
