#include "bridge/explore/size_branches.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "bridge/explore/dtypes.h"
#include "bridge/explore/state_plan.h"
#include "bridge/explore/tables.h"
#include "bridge/explore/variation.h"
#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "explore/paths.h"

namespace modulize {

namespace {

constexpr int kMaxNesting = 2;  // of what sizes decide on a path that sizes decide

void branch(nb::handle root, const CaptureOptions& options, std::vector<OtherSizes> others, Explorer& explorer,
            Capture& capture, int depth);

/// Explores and settles it, with what sizes decide behind the check of that name. False where that cannot be done, or
/// no further capture goes the same way.
bool settle(nb::handle root, const CaptureOptions& options, Explorer& explorer, Capture& capture,
            const std::string& check, int depth) {
  try {
    explorer.explore(capture);
    if (!explorer.is_mode_merged()) return false;
    const Prediction predict = explorer.prediction_for(capture);
    std::vector<OtherSizes> more;
    if (!recapture(root, options, capture, predict, explorer.outcomes(), more)) return false;
    settle_dtypes(root, options, capture, predict);
    const NodeId own = find_node(capture.graph, check);
    std::erase_if(more, [&](const OtherSizes& other) {
      for (NodeId id = own; id != kNoNode; id = capture.graph[id].prev)
        if (capture.graph[id].name == other.check) return true;
      return false;
    });
    if (depth < kMaxNesting) branch(root, options, std::move(more), explorer, capture, depth + 1);
    return true;
  } catch (const Error&) {  // what would have to be kept, too
    return false;
  } catch (nb::python_error& error) {
    if (is_fatal(error)) throw;
    return false;
  }
}

void branch(nb::handle root, const CaptureOptions& options, std::vector<OtherSizes> others, Explorer& explorer,
            Capture& capture, int depth) {
  std::vector<std::unique_ptr<Capture>> captures;
  std::vector<SizePath> paths;
  const auto tell = [&](const std::string& reason, NodeId check) {
    if (is_logged(LogCategory::explore))
      log(LogCategory::explore,
          {"sizes decide otherwise", reason, capture.graph.where(capture.graph[check]), options.cause.round});
  };
  for (OtherSizes& other : others) {
    const NodeId check = find_node(capture.graph, other.check);
    if (check == kNoNode || !is_size_decision(capture.graph[check])) continue;
    const std::string name = other.capture.graph[other.other].name;
    CaptureOptions own = options;
    vary_inputs(own, other.variation);
    own.because(CaptureReason::other_size, text_of(other.variation));
    Explorer side(root, own, explorer.verifies(), {});
    const bool is_settled = settle(root, own, side, other.capture, name, depth);
    const NodeId there = is_settled ? find_node(other.capture.graph, name) : kNoNode;
    if (there == kNoNode || !is_size_decision(other.capture.graph[there])) {
      tell("no further capture goes that way: stays a check", check);
      continue;
    }
    explorer.take(capture, other.capture);
    captures.push_back(std::make_unique<Capture>(std::move(other.capture)));
    paths.push_back({&captures.back()->graph, check, there});
  }
  if (paths.empty()) return;
  for (const auto& path : captures) share_tables(capture, *path);
  std::string why;
  std::optional<Graph> merged = merge_paths(capture.graph, paths, &why);
  for (const SizePath& path : paths) tell(merged ? "a branch" : "cannot be merged: " + why, path.check);
  if (merged) capture.graph = std::move(*merged);
}

}  // namespace

void branch_on_sizes(nb::handle root, const CaptureOptions& options, std::vector<OtherSizes> others, Explorer& explorer,
                     Capture& capture) {
  branch(root, options, std::move(others), explorer, capture, 0);
}

bool plan_for_sizes(nb::handle root, CaptureOptions& options, const Capture& first,
                    const std::vector<OtherSizes>& others, StatePlan& plan) {
  bool is_new = false;
  for (const OtherSizes& other : others) {
    const std::vector<std::string>& written = other.capture.state_writes;
    const auto is_known = [&](const std::string& name) {
      return plan.live.contains(name) || plan.silent.contains(name) ||
             std::find(first.state_writes.begin(), first.state_writes.end(), name) != first.state_writes.end();
    };
    if (std::all_of(written.begin(), written.end(), is_known)) continue;
    CaptureOptions own = options;
    vary_inputs(own, other.variation);
    const StatePlan found = plan_state(root, own, other.capture);
    for (const std::string& name : written) {
      if (is_known(name)) continue;
      // The first reads it as it was before.
      (found.live.contains(name) ? plan.live : plan.silent).insert(name);
      if (other.capture.optional_state.contains(name)) plan.optional.insert(name);
      is_new = true;
    }
  }
  if (is_new) options.state = &plan;
  return is_new;
}

}  // namespace modulize
