// All captures of one preparation.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <unordered_map>

#include "bridge/capture/capture.h"
#include "explore/compare.h"

namespace modulize {

/// What a capture is expected to record.
struct Expected {
  Graph graph;
  /// Decisions (by key) that change nothing, whatever they are: what feeds them does not count.
  std::set<std::string> idle = {};
};
/// What a capture with these decisions is expected to record.
using Prediction = std::function<Expected(const Capture& second)>;

/// Without what nobody uses: the pieces of a sequence that is passed on whole differ in number.
Graph without_dead_code(const Graph& graph);

/// The first difference between what was expected and what `other` has recorded; `expected` has the objects of `base`.
/// Code counts that has an effect or that something is decided by.
std::optional<Difference> compare_captures(const Expected& expected, const Capture& base, const Capture& other,
                                           Checks checks, Comparison* notes = nullptr);

/// Captures the model with all that it takes: the other outcomes of its decisions become branches, what cannot be
/// captured is kept whole at the smallest place, and with `verify` a second capture with other values and, where the
/// model takes it, another batch size finds what the first froze. Throws as capture_model does.
void capture_completely(nb::handle root, CaptureOptions options, bool verify, Capture& capture);

}  // namespace modulize
