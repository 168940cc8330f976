// Two captures of one forward, on other values and sizes: what differs was frozen by the first.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace modulize {

struct Difference {
  NodeId node = kNoNode;   // in the first graph; kNoNode: the second goes on where the first has ended
  NodeId other = kNoNode;  // in the second graph, likewise
  std::string what;        // "the argument 3 of torch.Tensor.view became 4", for people
};

/// What a comparison without a finding has seen.
struct Comparison {
  const std::set<std::string>* waived = nullptr;  // borrowed, given: names of checks that may expect anything
  bool is_whole = true;                           // no check ended it
  NodeId ended = kNoNode, other_ended = kNoNode;  // else that check, in the first and in the second graph
  std::vector<NodeId> other_leaks;                // leaks of the first graph whose numbers are others in the second
  std::vector<NodeId> other_checks;               // Checks::pass: checks of the first graph that expect something else
};

/// True if object `first` of the first capture and `second` of the second one are the same thing.
using SameObject = std::function<bool(ObjectId first, ObjectId second)>;

enum class Checks : std::uint8_t {
  end,    // a check whose expectation differs ends the comparison: what follows it is guarded
  equal,  // the expectations must be equal
  pass,   // a check whose expectation differs is noted, and what follows must be equal all the same
};

/// The graph of one capture without what cannot change anything: nodes without effect that nobody reads. Python decides
/// by a truth node, so it counts, and with it all that it is made of, unless it is among `idle`.
Graph without_unread(const Graph& graph, const std::set<NodeId>& idle);

/// The first place where two captures of the same forward differ in anything but names and sources; nothing if they do
/// not. Ends without a finding at a check (of a value or of a structure) whose expectation differs: from there on the
/// two may differ in all, and the prepared model raises before it gets there.
std::optional<Difference> first_difference(const Graph& first, const Graph& second, const SameObject& same_object,
                                           Checks checks = Checks::end, Comparison* notes = nullptr);

}  // namespace modulize
