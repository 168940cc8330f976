// The captures of one preparation, in their order.
#include "bridge/explore/explore.h"

#include <algorithm>
#include <set>

#include "bridge/explore/decisions.h"
#include "bridge/explore/dtypes.h"
#include "bridge/explore/environments.h"
#include "bridge/explore/first.h"
#include "bridge/explore/keep.h"
#include "bridge/explore/recapture.h"
#include "bridge/explore/size_branches.h"
#include "bridge/explore/state_plan.h"
#include "bridge/explore/tables.h"
#include "bridge/intercept/environment.h"
#include "bridge/python/errors.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/world/outside_state.h"
#include "explore/compare.h"
#include "explore/guards.h"
#include "passes/pass.h"

namespace modulize {

namespace {

/// Without values, all that is written is read at every call. What is called as a whole cannot be looked into between
/// two of its calls.
void plan_symbolic(nb::handle root, const std::vector<std::string>& written, StatePlan& plan) {
  const ModuleScan scan = scan_modules(root);
  for (const ModuleScan::Entry& entry : scan.modules) {
    if (!is_library_leaf(Py_TYPE(entry.module))) continue;
    for (const std::string& name : written)
      if (name.starts_with(entry.path + ".") && name.find('.', entry.path.size() + 1) == name.npos)
        throw Error(ErrorCode::CaptureError, "forward writes attribute '" + name +
                                                 "' of a module that is called as a whole: give example_inputs");
  }
  plan.live.insert(written.begin(), written.end());
}

/// Decides how to capture what forward leaves for the next call, which is known after a first capture. True if it must
/// be captured once more.
bool plan_for_state(nb::handle root, const Capture& capture, CaptureOptions& options, StatePlan& plan) {
  const bool running = options.is_running();
  const std::vector<std::string>& written = running ? capture.state_writes : capture.written_state;
  if (options.state || written.empty()) return false;
  if (running)
    plan = plan_state(root, options, capture);
  else
    plan_symbolic(root, written, plan);
  plan.optional = capture.optional_state;
  options.state = &plan;
  return !plan.live.empty() || !plan.silent.empty();
}

/// Makes live what the plan does not know. False if there is nothing new.
bool add_to_plan(const std::set<std::string>& written, CaptureOptions& options, StatePlan& plan) {
  bool is_new = false;
  for (const std::string& name : written)
    if (!plan.silent.contains(name) && plan.live.insert(name).second) {
      plan.optional.insert(name);
      is_new = true;
    }
  if (is_new) options.state = &plan;
  return is_new;
}

/// The capture that all others are compared with, once it is known what it has to ask and to write. Returns captures in
/// other worlds.
std::vector<std::shared_ptr<const Capture>> capture_base(nb::handle root, CaptureOptions& options, Capture& capture,
                                                         StatePlan& state) {
  for (;; capture = Capture()) {
    const std::size_t loaded = ambient_functions_loaded();
    capture_first(root, options, capture);
    const bool unsorted = std::any_of(capture.ambient_questions.begin(), capture.ambient_questions.end(),
                                      [&](const AmbientQuestion& q) { return !options.decided.contains(q.question); });
    std::vector<std::shared_ptr<const Capture>> others;
    if (unsorted) others = sort_questions(root, capture, options);
    if (unsorted && options.on_dynamic != "branch")
      options.because(CaptureReason::questions_sorted);
    else if (ambient_functions_loaded() != loaded)
      options.because(CaptureReason::imported);
    else if (plan_for_state(root, capture, options, state))
      options.because(CaptureReason::state);
    else
      return others;
  }
}

}  // namespace

Graph without_dead_code(const Graph& graph) {
  Graph out = graph;
  find_pass("dead_code")->run(out, {});
  return out;
}

std::optional<Difference> compare_captures(const Expected& expected, const Capture& base, const Capture& other,
                                           Checks checks, Comparison* notes) {
  // In the prediction, decisions that change nothing have no node.
  std::set<NodeId> idle;
  for (const Decision& decision : other.decisions)
    if (expected.idle.contains(decision.key)) idle.insert(decision.node);
  return first_difference(
      without_unread(expected.graph, {}), without_unread(other.graph, idle),
      [&](ObjectId a, ObjectId b) { return same_object(base.objects[a], other.objects[b]); }, checks, notes);
}

void capture_completely(nb::handle root, CaptureOptions options, bool verify, Capture& capture) {
  const bool running = options.is_running();
  KeptWhole kept;
  kept.root = options.keep_root;
  KeepTried tried;
  options.kept = &kept;
  const ModuleScan scan = scan_modules(root);
  options.scan = &scan;
  options.outside = std::make_shared<const OutsideState>(scan);
  std::unordered_map<std::string, bool> outcomes;
  if (running) options.known_outcomes = &outcomes;
  StatePlan state;
  std::string ended_generator;
  if (kept.root) options.because(CaptureReason::kept_more, *kept.root);
  for (std::size_t round = 0;; ++round) {
    options.cause.round = round;
    try {
      const std::vector<std::shared_ptr<const Capture>> others = capture_base(root, options, capture, state);
      if (capture.outside && !running) require_no_outside_state(root, options, capture);
      Explorer explorer(root, options, running && verify, others);
      explorer.explore(capture);
      // What only another side or mode writes is state, too.
      if (add_to_plan(explorer.written_state(), options, state)) {
        options.because(CaptureReason::state);
        capture = Capture();
        continue;
      }
      if (running && (verify || options.more_calls)) {
        const Prediction predict = explorer.prediction_for(capture);
        std::vector<OtherSizes> sizes;
        recapture(root, options, capture, predict, explorer.outcomes(), sizes);
        if (plan_for_sizes(root, options, capture, sizes, state)) {
          options.because(CaptureReason::state);
          capture = Capture();
          continue;
        }
        settle_dtypes(root, options, capture, predict);
        branch_on_sizes(root, options, std::move(sizes), explorer, capture);
      }
      check_leaks(capture.graph);
      if (!explorer.is_mode_merged()) add_mode_checks(capture.graph, capture.mode_reads);
      simplify_selections(capture.graph);
      write_sites(capture.graph, capture.sites);
      return;
    } catch (const KeepRequest& request) {
      if (!running || options.on_dynamic == "error") throw;
      if (round >= kMaxKept || !keep_more(root, request, kept, tried)) {
        if (kept.root) throw;
        kept.root = request.why;
      }
      options.because(CaptureReason::kept_more, request.why);
      if (!request.generator.empty()) ended_generator = request.generator;
    } catch (const Error& error) {
      if (!running || options.on_dynamic == "error" || error.code() != ErrorCode::CaptureError || kept.root) throw;
      kept.root = error.what();
      options.because(CaptureReason::kept_more, *kept.root);
    } catch (nb::python_error& error) {
      if (!running) refuse_symbols(error);
      if (!ended_generator.empty() && error.matches(PyExc_StopIteration))
        throw Error(ErrorCode::CaptureError, "forward goes on with a generator (" + ended_generator +
                                                 "), which a capture has ended, as nothing can start it anew: keep its "
                                                 "state in attributes, and make the model once more");
      if (!running || options.on_dynamic == "error" || kept.root || is_fatal(error) ||
          is_error(error, ErrorCode::ModulizeError))
        throw;
      // The model's own, or something that only a recorded run meets?
      kept.root = "it cannot be recorded: " + text_of(nb::handle(error.value()));
      options.because(CaptureReason::kept_more, *kept.root);
      Capture whole;
      capture_model(root, options, whole);
      whole.forward_code = forward_code_of(root, &kept);
      if (round < kMaxKept && keep_more(root, request_of(whole, kept, error), kept, tried)) kept.root.reset();
    }
    capture = Capture();
  }
}

}  // namespace modulize
