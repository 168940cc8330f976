// Context regions: what a `with` block of forward is in a graph.
//
//   %enter = call_function modulize._runtime.enter("torch.autocast", "cpu", dtype=torch.bfloat16)
//   ...
//   %leave = call_function modulize._runtime.leave(%enter)
//
// The first argument is the qualified name of what makes the context manager (a text, so that torch.fx can print it
// too), the others are its arguments. Regions nest properly: invariant 19 of the verifier.
#pragma once

#include <string_view>
#include <vector>

#include "ir/runtime_calls.h"

namespace modulize {

inline bool is_enter(const Node& node) { return is_call_of(node, kEnter); }
inline bool is_leave(const Node& node) { return is_call_of(node, kLeave); }

/// The node that entered the region; kNoNode if `leave` does not have the form of one.
inline NodeId region_of_leave(const Node& leave) {
  return leave.args.size() == 1 && leave.args[0].is_node() && leave.kwargs.empty() ? leave.args[0].as_node() : kNoNode;
}

/// A call that sets the gradient mode for all that follows.
inline constexpr std::string_view kSetGradients = "torch._C._set_grad_enabled";

/// By NodeId: the node that set the gradient mode there, an enter or a call of kSetGradients; kNoNode where it is the
/// caller's. An enter belongs to what is around it, a leave to its own region.
std::vector<NodeId> gradient_regions(const Graph& graph);

/// Is the mode that this node sets known to be off?
bool turns_gradients_off(const Node& node);

}  // namespace modulize
