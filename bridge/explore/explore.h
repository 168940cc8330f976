// All captures of one preparation.
#pragma once

#include "bridge/record/capture.h"
#include "explore/compare.h"

namespace modulize {

/// Without what nobody uses: the pieces of a sequence that is passed on whole differ in number.
Graph without_dead_code(const Graph& graph);

/// Gives the objects in `other` the numbers that `base` has for the same ones; new ones are added to `base`.
void adopt_objects(Capture& base, Capture& other);

/// The first difference between what was expected and what was recorded; `expected` has the objects of `base`, `actual`
/// those of `other`. Code without effect does not count.
std::optional<Difference> compare_captures(const Graph& expected, const Capture& base, const Graph& actual,
                                           const Capture& other, Checks checks, Comparison* notes = nullptr);

}  // namespace modulize
