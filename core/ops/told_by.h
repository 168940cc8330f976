// What tells the shapes of what a call yields: captures ask it before they leave a kernel out.
#pragma once

#include <string_view>

#include "ir/graph.h"

namespace modulize {

/// In the order of how much must be known. "The shapes" are those of the tensors among the arguments, with their
/// strides, dtypes and devices, and all arguments that are no tensors.
enum class ToldBy : std::uint8_t {
  shapes,   // they alone
  numbers,  // and the value of an integer tensor without dimensions, not the first, which may stand for a size
  indices,  // and the values of booleans, not the first argument (`x[mask]`)
  values,   // all values; of a call about which nothing is known, too
};

/// Of a call that yields tensors; `values` where it may yield what Python goes on by.
ToldBy told_by(Opcode op, std::string_view target);

/// The same of a layer of torch.nn ("torch.nn.Linear") that runs no code of other modules but such layers'.
ToldBy told_by_layer(std::string_view type);

/// Do values tell how much the call yields (`nonzero`, `x[mask]`)?
bool is_sized_by_values(const Graph& graph, const Node& call);

/// How many arguments the call needs to be the one that the table has a row for: `torch.where(condition)` is another
/// than `torch.where(condition, input, other)`.
std::size_t required_arguments(Opcode op, std::string_view target);

}  // namespace modulize
