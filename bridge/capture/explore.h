// All captures of one preparation.
#pragma once

#include "bridge/capture/capture.h"
#include "explore/compare.h"

namespace modulize {

/// Adds the function and the modules that a node was recorded in, as candidates to be kept whole.
void add_candidates(const Capture& capture, const Graph& graph, NodeId node, std::vector<KeepCandidate>& out);
/// Throws the KeepRequest for the function and modules that `node` of `capture` was recorded in.
[[noreturn]] void throw_keep_request(const Capture& capture, NodeId node, const std::string& why);

/// Without what nobody uses: the pieces of a sequence that is passed on whole differ in number.
Graph without_dead_code(const Graph& graph);

/// Gives the objects in `other` the numbers that `base` has for the same ones; new ones are added to `base`.
void adopt_objects(Capture& base, Capture& other);

/// The first difference between what was expected and what was recorded; `expected` has the objects of `base`, `actual`
/// those of `other`. Code without effect does not count.
std::optional<Difference> compare_captures(const Graph& expected, const Capture& base, const Graph& actual,
                                           const Capture& other, Checks checks, Comparison* notes = nullptr);

}  // namespace modulize
