#include "bridge/explore/decisions.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <random>

#include "bridge/explore/first.h"
#include "bridge/explore/keep.h"
#include "bridge/explore/recapture.h"
#include "bridge/explore/tables.h"
#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/values/torch_types.h"
#include "explore/ambient.h"
#include "explore/compare.h"
#include "explore/linearise.h"
#include "ir/control.h"

namespace modulize {

namespace {

constexpr std::size_t kMaxCaptures = 160;
constexpr int kMaxNesting = 6;
// Up to this many decisions every combination is merged; more are flipped one by one, and all combinations of them are
// merged only where they turn out to depend on one another.
constexpr std::size_t kMaxTree = 3, kMaxFallbackTree = 5;
// Up to this many decisions, those on flipped sides among them, every combination that occurs is compared with what is
// merged; of more some are.
constexpr std::size_t kMaxTogether = 6, kMaxRuns = 80, kSamples = 32;

}  // namespace

namespace {

bool decides(const Capture& base) { return !base.decisions.empty() || !base.mode_reads.empty(); }

}  // namespace

void Explorer::explore(Capture& base) {
  if (!decides(base)) return;
  for (const ModeRead& read : base.mode_reads) flags_[read.path] = read.flag;
  Explored out = decided(base);
  if (!base.mode_reads.empty()) out = with_other_mode(base, std::move(out));
  base.graph = std::move(out.graph);
  base.numbers = std::move(out.numbers);
  nodes_ = std::move(out.nodes);
}

Prediction Explorer::prediction_for(const Capture& base) const {
  if (!decides(base)) return [&base](const Capture&) { return Expected{base.graph}; };
  return [this, &base](const Capture& second) { return predict(base.graph, nodes_, second); };
}

Expected Explorer::predict(const Graph& graph, const std::map<std::string, NodeId>& nodes,
                           const Capture& second) const {
  std::unordered_map<std::string, bool> outcomes = outcomes_;
  for (const Decision& decision : second.decisions) outcomes[decision.key] = decision.outcome;
  return predict(graph, nodes, outcomes);
}

Expected Explorer::predict(const Graph& graph, const std::map<std::string, NodeId>& nodes,
                           const std::unordered_map<std::string, bool>& outcomes) const {
  std::unordered_map<NodeId, bool> by_node;
  const auto key_of = [&](const std::string& name) -> const std::string& {
    const auto alias = aliases_.find(name);
    return alias == aliases_.end() ? name : alias->second;
  };
  const Graph lean = without_dead_code(graph);
  std::set<std::string> idle, busy;
  for (const auto& [name, node] : nodes) {
    by_node[node] = outcomes.at(key_of(name));
    (lean[node].alive ? busy : idle).insert(key_of(name));
  }
  Expected out;
  std::set_difference(idle.begin(), idle.end(), busy.begin(), busy.end(), std::inserter(out.idle, out.idle.end()));
  std::set<NodeId> erased;
  for (const auto& [name, node] : nodes)
    if (out.idle.contains(key_of(name))) erased.insert(node);
  out.graph = linearise(
      graph, by_node,
      [&](const std::string& path) {
        const auto it = flags_.find(path);
        return it != flags_.end() && it->second;
      },
      erased);
  return out;
}

void Explorer::capture(const std::unordered_map<std::string, bool>& outcomes, Capture& out, CaptureReason reason,
                       std::string detail) {
  const std::set<std::string> world = world_with(outcomes).value_or(std::set<std::string>());
  if (const Capture* known = find_known(outcomes, world)) {
    out = *known;
    return note_questions(out);
  }
  if (++captures_ > kMaxCaptures) throw Failure{"more decisions than can be explored"};
  CaptureOptions options = options_;
  options.outcomes = &outcomes;
  options.flipped = world;
  options.because(reason, std::move(detail));
  capture_model(root_, options, out);
  note_questions(out);
  known_.push_back(std::make_shared<const Capture>(out));
}

void Explorer::note_questions(const Capture& capture) {
  for (const Decision& decision : capture.decisions)
    if (!decision.question.empty()) asked_.try_emplace(decision.key, decision);
}

const Capture* Explorer::find_known(const Outcomes& outcomes, const std::set<std::string>& world) const {
  const auto comes_out = [&](const Decision& decision) {
    const auto it = outcomes.find(decision.key);
    return it == outcomes.end() ? decision.natural != world.contains(decision.question) : it->second;
  };
  for (const auto& known : known_)
    if (std::all_of(known->decisions.begin(), known->decisions.end(),
                    [&](const Decision& decision) { return decision.outcome == comes_out(decision); }))
      return known.get();
  return nullptr;
}

std::optional<std::set<std::string>> Explorer::world_with(const Outcomes& outcomes) const {
  std::map<std::string, bool> answers;
  for (const auto& [key, outcome] : outcomes)
    if (const auto it = asked_.find(key); it != asked_.end())
      answers[it->second.question] = outcome != it->second.natural;
  return world_of(answers);
}

bool Explorer::is_possible(const Capture& capture, const Decision& decision) const {
  if (decision.question.empty()) return true;
  Outcomes outcomes;
  for (const Decision& before : capture.decisions) {
    const bool is_itself = before.key == decision.key;
    outcomes[before.key] = before.outcome != is_itself;
    if (is_itself) break;
  }
  return world_with(outcomes).has_value();
}

void Explorer::tell(const std::string& reason, const std::string& what, const std::string& where) const {
  log(LogCategory::explore, {what, reason, where, options_.cause.round});
}

Explorer::Explored Explorer::decided(Capture& base) {
  for (const Decision& decision : base.decisions) outcomes_.try_emplace(decision.key, decision.outcome);
  note_questions(base);
  known_.push_back(std::make_shared<const Capture>(base));
  runs_ = {run_of(base)};
  raising_.clear();
  const bool is_tree = base.decisions.size() <= kMaxTree;
  if (!base.decisions.empty() && is_logged(LogCategory::explore))
    tell("decisions on values, " + std::to_string(base.decisions.size()) + " of them",
         is_tree ? "every combination is captured" : "each is flipped by itself");
  if (is_tree) return tree(base, {}, 0);
  Explored out = linear(base);
  // What several decisions do together must be what each does alone.
  if (const Decision* entangled = find_entangled(base, out)) {
    if (is_logged(LogCategory::explore))
      tell("decisions depend on one another", "every combination is captured",
           base.graph.where(base.graph[entangled->node]));
    if (base.decisions.size() > kMaxFallbackTree) keep(base, *entangled, "decisions that depend on one another");
    out = tree(base, {}, 0);
  }
  return out;
}

Explorer::Explored Explorer::raw(const Capture& base) {
  Explored out;
  out.graph = base.graph;
  out.numbers = base.numbers;
  for (const Decision& decision : base.decisions) out.nodes[decision.key] = decision.node;
  return out;
}

bool Explorer::capture_flipped(Capture& base, const Decision& decision, std::unordered_map<std::string, bool> outcomes,
                               Capture& other, std::vector<Requirement>& requirements) {
  // What the world answers from then on depends on what it has answered.
  bool is_later = false;
  for (const Decision& later : base.decisions) {
    is_later |= later.key == decision.key;
    if (is_later && !later.question.empty()) outcomes.erase(later.key);
  }
  outcomes[decision.key] = !decision.outcome;
  std::optional<std::pair<nb::object, bool>> error;
  for (int attempt = 0;; ++attempt) {
    error.reset();
    try {
      capture(outcomes, other, CaptureReason::decision_flipped, base.graph.where(base.graph[decision.node]));
    } catch (nb::python_error& e) {
      if (is_fatal(e)) throw;
      error.emplace(nb::borrow(e.value()), is_explicit_raise(e));
    }
    runs_.push_back(run_of(other));
    if (!error || !error->second || other.decisions.empty() || attempt == kMaxNesting) break;
    // It may be a later decision that makes it raise: the side is what it is where that comes out the other way.
    const Decision& last = other.decisions.back();
    if (!last.question.empty() || !outcomes.emplace(last.key, !last.outcome).second) break;
    other = Capture();
  }
  if (error) {
    raising_.emplace(decision.key, !decision.outcome);
    requirements.push_back({decision.node, decision.outcome, error_value(base, decision, *error)});
    return false;
  }
  take(base, other);
  for (const Decision& d : other.decisions) outcomes_.try_emplace(d.key, d.outcome);
  return true;
}

std::optional<Explorer::Explored> Explorer::merged(const Explored& base, const std::vector<Variant>& variants,
                                                   const std::vector<const Explored*>& sides,
                                                   const std::vector<Requirement>& requirements, std::string* why) {
  std::optional<Merged> made = merge(base.graph, variants, requirements, why);
  if (is_logged(LogCategory::explore))
    tell("other sides, " + std::to_string(variants.size()) + " and " + std::to_string(requirements.size()) +
             " that raise",
         made ? "merged" : "cannot be merged: " + *why);
  if (!made) return std::nullopt;
  Explored out;
  for (const auto& [key, node] : base.nodes) out.nodes[key] = made->of_first.at(node);
  for (std::size_t v = 0; v < sides.size(); ++v)
    for (const auto& [key, node] : sides[v]->nodes)
      if (const auto it = made->of_variant[v].find(node); it != made->of_variant[v].end()) {
        // One that stands in both, at places that could not be aligned, has another key from now on.
        std::string name = key;
        while (out.nodes.contains(name)) name += '\'';
        if (name != key) aliases_[name] = aliases_.contains(key) ? aliases_.at(key) : key;
        out.nodes[name] = it->second;
      }
  for (const auto& [node, numbers] : base.numbers)
    if (const auto it = made->of_first.find(node); it != made->of_first.end()) out.numbers[it->second] = numbers;
  for (std::size_t v = 0; v < sides.size(); ++v)
    for (const auto& [node, numbers] : sides[v]->numbers)
      if (const auto it = made->of_variant[v].find(node); it != made->of_variant[v].end())
        out.numbers[it->second] = numbers;
  out.graph = std::move(made->graph);
  return out;
}

Variant Explorer::variant(const Explored& side, const Decision& decision) {
  Condition condition{decision.node, "", decision.outcome};
  return {&side.graph, [condition](NodeId, NodeId) { return condition; }};
}

Explorer::Explored Explorer::tree(Capture& base, std::set<std::string> known, int depth) {
  const auto fresh = std::find_if(base.decisions.begin(), base.decisions.end(),
                                  [&](const Decision& d) { return !known.contains(d.key) && is_possible(base, d); });
  if (fresh == base.decisions.end()) return raw(base);
  const Decision decision = *fresh;
  try {
    if (depth > kMaxNesting) throw Failure{"decisions within decisions without end: a loop that ends by a value"};
    std::unordered_map<std::string, bool> outcomes;
    for (auto d = base.decisions.begin(); d != fresh; ++d) outcomes[d->key] = d->outcome;
    known.insert(decision.key);
    Capture other;
    std::vector<Requirement> requirements;
    const bool captured = capture_flipped(base, decision, std::move(outcomes), other, requirements);
    Explored side;
    if (captured) {
      side = tree(other, known, depth + 1);
      share_tables(other, base);
    }
    Explored first = tree(base, known, depth);
    Decision placed = decision;
    placed.node = first.nodes.at(decision.key);
    for (Requirement& requirement : requirements) requirement.decision = placed.node;
    std::vector<Variant> variants;
    std::vector<const Explored*> sides;
    if (captured) {
      variants.push_back(variant(side, placed));
      sides.push_back(&side);
    }
    std::string why;
    if (auto out = merged(first, variants, sides, requirements, &why)) return std::move(*out);
    throw Failure{why};
  } catch (const Failure& failure) {
    keep(base, decision, failure.why);
  }
}

Explorer::Explored Explorer::linear(Capture& base) {
  std::set<std::string> seen;
  std::unordered_map<std::string, bool> outcomes;
  for (const Decision& decision : base.decisions) {
    seen.insert(decision.key);
    outcomes[decision.key] = decision.outcome;
  }
  std::vector<Explored> sides;
  std::vector<Decision> decisions;
  std::vector<Requirement> requirements;
  for (const Decision& decision : base.decisions) {
    if (!is_possible(base, decision)) continue;
    try {
      Capture other;
      if (!capture_flipped(base, decision, outcomes, other, requirements)) continue;
      sides.push_back(tree(other, seen, 1));
      share_tables(other, base);
      decisions.push_back(decision);
    } catch (const Failure& failure) {
      keep(base, decision, failure.why);
    }
  }
  std::vector<Variant> variants;
  std::vector<const Explored*> pointers;
  for (std::size_t v = 0; v < sides.size(); ++v) {
    variants.push_back(variant(sides[v], decisions[v]));
    pointers.push_back(&sides[v]);
  }
  std::string why;
  if (auto out = merged(raw(base), variants, pointers, requirements, &why)) return std::move(*out);
  keep(base, base.decisions.back(), why);
}

Explorer::Run Explorer::run_of(const Capture& capture) {
  Run out;
  for (const Decision& decision : capture.decisions) out.emplace_back(decision.key, decision.outcome);
  return out;
}

std::optional<Explorer::Run> Explorer::run_as_predicted(Capture& base, const Explored& explored, const Run& outcomes) {
  const std::unordered_map<std::string, bool> told(outcomes.begin(), outcomes.end());
  const auto differ = [&](const std::string& what) -> std::optional<Run> {
    if (is_logged(LogCategory::explore)) tell("decisions together do something else than each", what);
    return std::nullopt;
  };
  Capture actual;
  try {
    capture(told, actual, CaptureReason::decisions_together,
            std::to_string(outcomes.size()) + " of " + std::to_string(outcomes_.size()));
  } catch (const Failure& failure) {
    keep(base, base.decisions.back(), failure.why);
  } catch (nb::python_error& e) {
    if (is_fatal(e)) throw;
    // The original refuses these outcomes: by an assertion that is none where only the last of them is flipped?
    const bool is_known =
        actual.decisions.empty() || raising_.contains({actual.decisions.back().key, actual.decisions.back().outcome});
    if (is_explicit_raise(e) && !is_known) return differ("it raises " + text_of(nb::handle(e.value())));
    return run_of(actual);
  }
  std::unordered_map<std::string, bool> expected = outcomes_;
  for (const auto& [key, outcome] : told) expected[key] = outcome;
  for (const Decision& decision : actual.decisions) expected[decision.key] = decision.outcome;
  for (const Decision& decision : actual.decisions)
    if (raising_.contains({decision.key, decision.outcome}))
      return differ("it does not raise at " + actual.graph.where(actual.graph[decision.node]));
  Expected predicted = predict(explored.graph, explored.nodes, expected);
  // One that is met here alone must change nothing, whatever it is.
  for (const Decision& decision : actual.decisions)
    if (!outcomes_.contains(decision.key)) predicted.idle.insert(decision.key);
  const auto difference = compare_captures(predicted, base, actual, Checks::end);
  return difference ? differ(difference->what) : run_of(actual);
}

std::optional<Explorer::Run> Explorer::find_wrong(Capture& base, const Explored& explored, const Run& begin) {
  const auto begins_so = [&](const Run& run) {
    return run.size() >= begin.size() && std::equal(begin.begin(), begin.end(), run.begin());
  };
  auto known = std::find_if(runs_.begin(), runs_.end(), begins_so);
  if (known == runs_.end()) {
    std::optional<Run> made = run_as_predicted(base, explored, begin);
    if (!made) return begin;
    if (!begins_so(*made)) return std::nullopt;  // it raises before
    known = runs_.insert(runs_.end(), std::move(*made));
  }
  const Run run = *known;
  for (std::size_t i = begin.size(); i < run.size() && runs_.size() < kMaxRuns; ++i) {
    Run other(run.begin(), run.begin() + static_cast<std::ptrdiff_t>(i));
    other.emplace_back(run[i].first, !run[i].second);
    if (asked_.contains(run[i].first) && !world_with(Outcomes(other.begin(), other.end()))) continue;
    if (auto wrong = find_wrong(base, explored, other)) return wrong;
  }
  return std::nullopt;
}

const Decision* Explorer::find_entangled(Capture& base, const Explored& explored) {
  const auto last_flipped = [&](const Run& run) {
    const Decision* last = &base.decisions.back();
    for (const Decision& decision : base.decisions)
      for (const auto& [key, outcome] : run)
        if (key == decision.key && outcome != decision.outcome) last = &decision;
    return last;
  };
  std::set<std::string> keys;  // of decisions on values: there are few worlds
  for (const Run& run : runs_)
    for (const auto& [key, outcome] : run)
      if (!asked_.contains(key)) keys.insert(key);
  if (keys.size() <= kMaxTogether) {
    const std::optional<Run> wrong = find_wrong(base, explored, {});
    if (wrong) return last_flipped(*wrong);
    if (runs_.size() < kMaxRuns) return nullptr;
  }
  // As many of them true as there can be, in turn: what counts them is found.
  std::mt19937 random(1);
  std::vector<std::size_t> order(base.decisions.size());
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t sample = 0; sample < std::max(kSamples, order.size() + 1); ++sample) {
    std::shuffle(order.begin(), order.end(), random);
    Run outcomes;
    for (std::size_t i = 0; i < order.size(); ++i)
      if (base.decisions[order[i]].question.empty())
        outcomes.emplace_back(base.decisions[order[i]].key, i < sample % (order.size() + 1));
    // In another world, every other time.
    const Decision& any = base.decisions[order[0]];
    if (sample % 2 == 1 && !any.question.empty() && is_possible(base, any))
      outcomes.emplace_back(any.key, !any.outcome);
    const std::optional<Run> run = run_as_predicted(base, explored, outcomes);
    if (!run) return last_flipped(outcomes);
    Run others = outcomes;
    for (const auto& [key, outcome] : *run)
      if (!outcomes_.contains(key) && !asked_.contains(key)) others.emplace_back(key, !outcome);
    if (others.size() > outcomes.size() && !run_as_predicted(base, explored, others)) return last_flipped(outcomes);
  }
  return nullptr;
}

bool Explorer::asks_for_gradients(const Graph& graph, const Decision& decision) {
  const Value& value = graph[decision.node].args[0];
  if (!value.is_node()) return false;
  const Node& asked = graph[value.as_node()];
  return is_call_of(asked, "builtins.getattr") && asked.args[1] == Value::string("requires_grad");
}

Value Explorer::error_value(Capture& base, const Decision& decision, const std::pair<nb::object, bool>& error) {
  if (error.second && !asks_for_gradients(base.graph, decision)) {
    // Without its traceback, which would hold the frames of the capture.
    nb::object plain = error.first;
    plain.attr("__traceback__") = nb::none();
    plain.attr("__context__") = nb::none();
    plain.attr("__cause__") = nb::none();
    return base.objects.value(plain);
  }
  const std::string where = base.graph.where(base.graph[decision.node]);
  return Value::string("a decision on a value" + (where.empty() ? "" : " at " + where) +
                       " came out otherwise than when the model was prepared, and that side could not be captured (" +
                       text_of(error.first) + ")");
}

void Explorer::take(Capture& base, Capture& other) {
  adopt(base, other);
  merge_notes(base, other);
}

void Explorer::merge_notes(Capture& base, const Capture& other) {
  const std::vector<std::string>& known = options_.is_running() ? base.state_writes : base.written_state;
  for (const std::string& name : options_.is_running() ? other.state_writes : other.written_state)
    if (std::find(known.begin(), known.end(), name) == known.end())
      if (!is_of_layer(name)) written_state_.insert(name);
  merge_inner_calls(base.inner_calls, other.inner_calls);
  merge_sites(base.sites, other.sites);
  for (const Kept& kept : other.kept) {
    const auto same = [&](const Kept& k) { return k.what == kept.what && k.scope == kept.scope; };
    if (std::none_of(base.kept.begin(), base.kept.end(), same)) base.kept.push_back(kept);
  }
  for (const std::string& name : other.written_state)
    if (std::find(base.written_state.begin(), base.written_state.end(), name) == base.written_state.end())
      base.written_state.push_back(name);
}

bool Explorer::is_of_layer(const std::string& name) const {
  const std::size_t dot = name.rfind('.');
  const std::string path = dot == name.npos ? "" : name.substr(0, dot), attribute = name.substr(dot + 1);
  for (const ModuleScan::Entry& entry : options_.scan->modules) {
    if (entry.path != path) continue;
    if (is_library_leaf(Py_TYPE(entry.module))) return true;
    PyObject* const dict = attribute_dict(entry.module);
    PyObject* const value = dict ? PyDict_GetItemString(dict, attribute.c_str()) : nullptr;
    return attribute == "requires_grad" || attribute == "grad" || (value && TorchTypes::instance().is_tensor(value));
  }
  return true;
}

void Explorer::keep(const Capture& base, const Decision& decision, const std::string& why) const {
  throw_keep_request(base, decision.node, "control flow on the value of a tensor: " + why);
}

Explorer::Explored Explorer::with_other_mode(Capture& base, Explored first) {
  is_mode_merged_ = false;
  known_.clear();
  KeptWhole kept = options_.kept ? *options_.kept : KeptWhole();
  const CaptureOptions own = options_;
  struct Restore {
    CaptureOptions& options;
    const CaptureOptions& own;
    ~Restore() { options = own; }
  } restore{options_, own};
  options_.kept = &kept;
  KeepTried tried;
  std::string why_again;
  Capture other;
  Explored side;
  for (std::size_t round = 0;; ++round) {
    const FlippedModes flipped(root_, base.mode_reads);
    try {
      other = Capture();
      captures_ = 0;  // as for each round of the first mode
      capture({}, other, CaptureReason::other_mode, why_again);
      adopt(base, other);
      side = decided(other);
      if (verify_) recapture_side(other, side);
      if (other.outside && !options_.is_running()) require_no_outside_state(root_, options_, other);
      break;
    } catch (nb::python_error& error) {
      if (is_fatal(error)) throw;
      return first;
    } catch (const KeepRequest& request) {
      if (round >= kMaxKept || !keep_more(root_, request, kept, tried)) return first;
      why_again = request.why;
    } catch (const Error&) {
      return first;
    } catch (const Failure&) {
      return first;
    }
  }
  share_tables(other, base);
  merge_notes(base, other);
  for (const ModeRead& read : other.mode_reads) flags_.try_emplace(read.path, !read.flag);
  std::vector<Variant> variants{
      {&side.graph, [&](NodeId a, NodeId b) { return mode_condition(first.graph, a, side.graph, b, flags_); }}};
  std::string why;
  if (auto out = merged(first, variants, {&side}, {}, &why)) {
    is_mode_merged_ = true;
    return std::move(*out);
  }
  return first;
}

void Explorer::recapture_side(Capture& other, Explored& side) {
  CaptureOptions options = options_;
  options.more_calls = nullptr;  // they were made in the first mode
  other.graph = std::move(side.graph);
  other.numbers = side.numbers;
  const Prediction predicted = [&](const Capture& second) { return predict(other.graph, side.nodes, second); };
  std::vector<OtherSizes> others;  // what sizes decide is the first mode's
  recapture(root_, options, other, predicted, outcomes_, others);
  side.graph = std::move(other.graph);
}

}  // namespace modulize
