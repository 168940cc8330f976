#include "bridge/explore/recapture.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>

#include "bridge/explore/explore.h"
#include "bridge/explore/keep.h"
#include "bridge/explore/variation.h"
#include "bridge/python/log.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/values/structure.h"
#include "bridge/world/outside_state.h"
#include "explore/compare.h"
#include "explore/guards.h"
#include "explore/paths.h"
#include "ir/control.h"
#include "ir/printer.h"
#include "support/error.h"

namespace modulize {

namespace {

/// What a capture with such inputs is made for. `outcomes`: with decisions that come out as told.
CaptureReason reason_of(const Variation& variation, bool outcomes) {
  if (outcomes) return CaptureReason::other_outcomes;
  if (variation.longer_lists) return CaptureReason::longer_list;
  if (variation.full_masks) return CaptureReason::full_mask;
  return variation.more_rows || !variation.sizes.empty() ? CaptureReason::other_size : CaptureReason::other_values;
}

/// What is not given, but has a default that holds tensors, gets other values too.
void vary_defaults(nb::handle root, CaptureOptions& options) {
  const nb::object signature = nb::module_::import_("inspect").attr("signature")(root.attr("forward"));
  nb::dict keywords;
  if (!options.example_kwargs.is_none()) keywords.update(nb::borrow<nb::dict>(options.example_kwargs));
  std::size_t by_position = options.example_inputs.is_none() ? 0 : nb::len(options.example_inputs);
  bool any = false;
  for (nb::handle parameter : signature.attr("parameters").attr("values")()) {
    const nb::object name = parameter.attr("name"), fallback = parameter.attr("default");
    const bool is_given = by_position > 0 || keywords.contains(name);
    if (by_position > 0) --by_position;
    if (is_given || nb::cast<int>(nb::int_(nb::object(parameter.attr("kind")))) == 0 || !holds_tensor(fallback.ptr()))
      continue;
    if (!options.concrete_args.is_none() && nb::borrow<nb::dict>(options.concrete_args).contains(name)) continue;
    keywords[name] = vary(nb::make_tuple(fallback), {})[0];
    any = true;
  }
  if (any) options.example_kwargs = keywords;
}

/// False if the model refuses these inputs, which says nothing about the first capture.
bool capture_again(nb::handle root, CaptureOptions options, const Variation& variation, const Capture& first,
                   Capture& second) {
  options.because(reason_of(variation, options.outcomes), text_of(variation));
  options.other_random_numbers = true;
  vary_inputs(options, variation);
  vary_defaults(root, options);
  options.found = first.outside.get();
  return try_capture(root, options, second);
}

/// The check of a truth that a comparison ended at: its name in the first graph, and where it stands in the second.
struct EndedBy {
  std::string check;
  NodeId other = kNoNode;
};

/// Throws KeepRequest where `second` is not what was expected. True if nothing ended the comparison. `harmless`: the
/// leaks, and with Checks::pass the checks, that expect something else.
bool compare_with(Capture& first, const Capture& second, const Prediction& predict,
                  const std::unordered_map<std::string, bool>& known, const std::set<std::string>& waived,
                  std::set<std::string>& harmless, Checks checks = Checks::end, Coincidences* numbers = nullptr,
                  EndedBy* ended = nullptr) {
  const auto refuse = [&](const std::string& what, const Graph& graph, NodeId node, NodeId other) {
    // What differs may stand in either: a loop that runs once more shows in the second alone.
    std::vector<KeepCandidate> candidates;
    add_candidates(second, second.graph, other, candidates);
    add_candidates(first, graph, node, candidates);
    if (node != kNoNode) add_candidates(first, graph, graph[node].prev, candidates);
    std::stable_partition(candidates.begin(), candidates.end(),
                          [](const KeepCandidate& c) { return c.code.is_valid(); });
    const std::string where = node == kNoNode ? std::string() : graph.where(graph[node]);
    KeepRequest request("a value or size of the example would be frozen into the prepared model" +
                            (where.empty() ? "" : " at " + where) + ": in a second capture with other inputs, " + what +
                            "; exclude the function or module that does it, or give verify=False if it is always so",
                        "in a second capture with other inputs, " + what, std::move(candidates));
    request.takes_statements = checks == Checks::pass;
    throw request;
  };
  const Expected expected = predict(second);
  Comparison notes{.waived = &waived};
  const std::optional<Difference> difference = compare_captures(expected, first, second, checks, &notes);
  // Behind a check the two may differ in all.
  for (const Decision& decision : second.decisions)
    if (!known.contains(decision.key) && (notes.is_whole || decision.node < notes.other_ended))
      throw_keep_request(second, decision.node, "control flow on values that depends on the size of the inputs");
  if (difference) refuse(difference->what, expected.graph, difference->node, difference->other);
  for (const auto& [name, tensor] : first.constants) {
    const auto it = second.constants.find(name);
    if (it == second.constants.end() || it->second.is(tensor)) continue;
    NodeId node = kNoNode;
    for (const NodeId id : first.graph.order()) {
      if (first.graph[id].op != Opcode::get_attr || first.graph[id].target != name) continue;
      node = first_user(first.graph, id);
      if (node != kNoNode) break;
      node = id;
    }
    refuse("a tensor that forward made in a way that is not recorded (torch.Tensor(...), from_numpy) was another one",
           first.graph, node, kNoNode);
  }
  if (!notes.is_whole && ended && is_size_decision(expected.graph[notes.ended]))
    *ended = {expected.graph[notes.ended].name, notes.other_ended};
  if (!notes.is_whole) return false;
  if (numbers) numbers->compare(expected.graph, second.graph, second.numbers);
  merge_inner_calls(first.inner_calls, second.inner_calls);
  merge_sites(first.sites, second.sites);
  for (const std::vector<NodeId>* others : {&notes.other_leaks, &notes.other_checks})
    for (const NodeId id : *others)
      harmless.insert(expected.graph[id].name);  // a prediction has the names of the first
  return true;
}

/// A loop over rows may end early by a decision: the captures with these inputs are as expected however decisions come
/// out.
bool is_same_for_other_outcomes(nb::handle root, CaptureOptions options, const Variation& variation, Capture& first,
                                const Prediction& predict, const std::unordered_map<std::string, bool>& known,
                                const std::set<std::string>& waived) {
  const std::vector<std::pair<std::string, bool>> decisions(known.begin(), known.end());
  const std::size_t n = decisions.size();
  std::vector<std::vector<bool>> flips;
  if (n > 0 && n <= 3)
    for (std::size_t bits = 0; bits < (std::size_t{1} << n); ++bits) {
      flips.emplace_back();
      for (std::size_t i = 0; i < n; ++i) flips.back().push_back(bits >> i & 1);
    }
  else
    for (std::size_t k = 0; n > 0 && k <= n; ++k) {
      flips.emplace_back(n, k == n);
      if (k < n) flips.back()[k] = true;
    }
  for (const std::vector<bool>& flip : flips) {
    std::unordered_map<std::string, bool> outcomes;
    for (std::size_t i = 0; i < n; ++i) outcomes[decisions[i].first] = decisions[i].second != flip[i];
    options.outcomes = &outcomes;
    Capture second;
    std::set<std::string> unread;
    if (capture_again(root, options, variation, first, second) &&
        !compare_with(first, second, predict, known, waived, unread))
      return false;
  }
  return true;
}

/// Where the model takes longer lists and does the same with them, they may have any length; where it does otherwise,
/// that is kept whole. Returns the names of the checks that say nothing then.
std::set<std::string> try_longer_lists(nb::handle root, const CaptureOptions& options, Capture& first,
                                       const Prediction& predict,
                                       const std::unordered_map<std::string, bool>& outcomes) {
  bool any = false;
  for (nb::handle arguments : {nb::handle(options.example_inputs), nb::handle(options.example_kwargs)}) {
    if (arguments.is_none()) continue;
    const bool by_name = nb::isinstance<nb::dict>(arguments);
    for (nb::handle value : by_name ? nb::object(arguments.attr("values")()) : nb::borrow(arguments))
      any |= is_list_of_tensors(value);
  }
  if (!any) return {};
  const Variation variation{.longer_lists = true};
  Capture second;
  std::set<std::string> harmless;
  if (!capture_again(root, options, variation, first, second) ||
      !compare_with(first, second, predict, outcomes, {}, harmless, Checks::pass))
    return {};
  return length_checks(first.graph, without_dead_code(first.graph), harmless);
}

/// Throws KeepRequest where a graph does not hold for all that the module is called with. Returns the names of the
/// checks that say nothing then.
std::set<std::string> recapture_calls(nb::handle root, CaptureOptions options, Capture& first,
                                      const Prediction& predict,
                                      const std::unordered_map<std::string, bool>& outcomes) {
  std::set<std::string> waived;
  for (const InnerCall& call : *options.more_calls) {
    options.example_inputs = call.args;
    options.example_kwargs = call.kwargs;
    options.because(CaptureReason::other_call);
    options.known_outcomes = nullptr;
    Capture second;
    std::set<std::string> harmless;
    bool others = !try_capture(root, options, second) ||
                  !compare_with(first, second, predict, outcomes, {}, harmless, Checks::pass);
    if (!others) waived.merge(length_checks(first.graph, without_dead_code(first.graph), harmless, &others));
    if (others)
      throw KeepRequest("it is called in several ways, which give other graphs", "it is called in several ways", {});
  }
  return waived;
}

void log_dropped(const Graph& graph, NodeId check) {
  if (is_logged(LogCategory::guards))
    log(LogCategory::guards,
        {.what = print_node(graph, check), .reason = "changes nothing, dropped", .where = graph.where(graph[check])});
}

/// Numbers that happened to be alike: they are others with more inputs of the kind, or an assumption, or what they are
/// used for is kept.
void settle_coincidences(nb::handle root, const CaptureOptions& options, const Variation& variation, Capture& first,
                         const Prediction& predict, const std::unordered_map<std::string, bool>& outcomes,
                         const std::set<std::string>& waived, Coincidences& numbers) {
  const nb::object inputs = nb::make_tuple(options.example_inputs, options.example_kwargs);
  for (const Variation& more : more_like(inputs, variation)) {
    if (numbers.left(first.graph).empty()) return;
    Capture second;
    std::set<std::string> unread;
    if (capture_again(root, options, more, first, second))
      compare_with(first, second, predict, outcomes, waived, unread, Checks::end, &numbers);
  }
  for (const Coincidence& number : numbers.left(first.graph)) {
    const std::string where = first.graph.where(first.graph[number.node]);
    if (number.is_by_values)
      throw_keep_request(first, number.node, "a number read from values, by which Python may decide");
    check_number(first.graph, number,
                 "a number made of sizes, by which Python may decide" + (where.empty() ? "" : " at " + where));
  }
}

bool is_known(const std::vector<OtherSizes>& others, const std::string& check) {
  return std::any_of(others.begin(), others.end(), [&](const OtherSizes& other) { return other.check == check; });
}

/// The capture was the same up to a check: the first one for each is what its other side does.
void note_other_side(const Variation& variation, Capture& second, EndedBy& ended, std::vector<OtherSizes>& others) {
  if (ended.other == kNoNode || is_known(others, ended.check)) return;
  others.push_back({variation, std::move(second), std::move(ended.check), ended.other});
}

/// What sizes decide came out alike so far: inputs that are larger where those were smaller, and a single row.
void look_for_other_sides(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict,
                          const std::unordered_map<std::string, bool>& outcomes, const std::set<std::string>& waived,
                          std::vector<OtherSizes>& others) {
  const auto any_open = [&] {
    for (const NodeId id : first.graph.order())
      if (is_size_decision(first.graph[id]) && !is_known(others, first.graph[id].name)) return true;
    return false;
  };
  for (const Variation& variation : other_sides(nb::make_tuple(options.example_inputs, options.example_kwargs))) {
    if (!any_open()) return;
    Capture second;
    std::set<std::string> unread;
    EndedBy ended;
    if (capture_again(root, options, variation, first, second) &&
        !compare_with(first, second, predict, outcomes, waived, unread, Checks::end, nullptr, &ended))
      note_other_side(variation, second, ended, others);
  }
}

/// Captures with other values and sizes. Returns what recapture does.
bool try_variations(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict,
                    const std::unordered_map<std::string, bool>& outcomes, const std::set<std::string>& waived,
                    std::vector<OtherSizes>& others) {
  const nb::object inputs = nb::make_tuple(options.example_inputs, options.example_kwargs);
  // The first that the model takes is enough, unless a check hides the rest of it.
  bool met_check = false;
  Coincidences numbers(first.graph, first.numbers);
  for (const Variation& variation : variations_of(inputs)) {
    if (variation.after_check && !met_check) continue;
    Capture second;
    std::set<std::string> harmless;
    if (!capture_again(root, options, variation, first, second)) continue;
    EndedBy ended;
    if (!compare_with(first, second, predict, outcomes, waived, harmless, Checks::end, &numbers, &ended)) {
      met_check = true;
      note_other_side(variation, second, ended, others);
      continue;
    }
    if (!harmless.empty()) {
      // 2 // 2 is 3 // 2: a number that is told to Python must change nothing at a third size either, nor where
      // decisions come out otherwise.
      Capture again;
      std::set<std::string> unread;
      if (!capture_again(root, options, farther(inputs, variation), first, again) ||
          !compare_with(first, again, predict, outcomes, waived, unread, Checks::end, &numbers))
        continue;
      if (!is_same_for_other_outcomes(root, options, variation, first, predict, outcomes, waived)) continue;
    }
    // While the first still has all leaks that others have.
    look_for_other_sides(root, options, first, predict, outcomes, waived, others);
    settle_coincidences(root, options, variation, first, predict, outcomes, waived, numbers);
    for (const NodeId id : first.graph.order())
      if (has_role(first.graph[id], RuntimeRole::leak) && harmless.contains(first.graph[id].name)) {
        log_dropped(first.graph, id);
        first.graph.erase(id);
      }
    return true;
  }
  return false;
}

/// Code that is kept whole may yield None where a mask hides nothing.
void try_full_masks(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict,
                    const std::unordered_map<std::string, bool>& outcomes, const std::set<std::string>& waived) {
  bool any = false;
  for (const NodeId id : first.graph.order()) any |= is_call_of(first.graph[id], kCheckMade);
  if (!any || !has_masks(nb::make_tuple(options.example_inputs, options.example_kwargs))) return;
  Capture second;
  std::set<std::string> unread;
  if (capture_again(root, options, {.full_masks = true}, first, second))
    compare_with(first, second, predict, outcomes, waived, unread);
}

}  // namespace

void vary_inputs(CaptureOptions& options, const Variation& variation) {
  options.known_outcomes = nullptr;
  if (!options.example_inputs.is_none()) options.example_inputs = vary(options.example_inputs, variation);
  if (!options.example_kwargs.is_none()) options.example_kwargs = vary(options.example_kwargs, variation);
}

bool recapture(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict,
               const std::unordered_map<std::string, bool>& outcomes, std::vector<OtherSizes>& others) {
  const std::set<std::string> waived = options.more_calls ? recapture_calls(root, options, first, predict, outcomes)
                                                          : try_longer_lists(root, options, first, predict, outcomes);
  const bool is_whole = try_variations(root, options, first, predict, outcomes, waived, others);
  try_full_masks(root, options, first, predict, outcomes, waived);
  for (const NodeId id : first.graph.order())
    if (waived.contains(first.graph[id].name)) {
      log_dropped(first.graph, id);
      first.graph.erase(id);
    }
  return is_whole;
}

FlippedModes::FlippedModes(nb::handle root, const std::vector<ModeRead>& read) {
  std::unordered_set<std::string> paths;
  for (const ModeRead& r : read) paths.insert(r.path);
  nb::object modules = nb::steal(
      PyObject_CallOneArg(reinterpret_cast<PyObject*>(&PyDict_Type), nb::object(root.attr("named_modules")()).ptr()));
  if (!modules.is_valid()) nb::raise_python_error();
  for (auto [path, module] : nb::borrow<nb::dict>(modules))
    if (module.is(root) || !is_library_leaf(Py_TYPE(module.ptr())) ||
        paths.contains(nb::cast<std::string>(path) + ".training"))
      if (PyObject** slot = _PyObject_GetDictPtr(module.ptr()); slot && *slot)
        if (PyObject* flag = PyDict_GetItemString(*slot, "training"))
          flags_.emplace_back(nb::borrow(module), flag == Py_True);
  set(true);
}

FlippedModes::~FlippedModes() { set(false); }

void FlippedModes::set(bool flipped) {
  for (auto& [module, was] : flags_)
    PyDict_SetItemString(*_PyObject_GetDictPtr(module.ptr()), "training", was != flipped ? Py_True : Py_False);
}

}  // namespace modulize
