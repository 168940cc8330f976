// The captures of one preparation: every decision's other outcome, what must be kept whole, other values, the other
// mode.
#include "bridge/explore/explore.h"

#include <algorithm>
#include <set>

#include "bridge/explore/dtypes.h"
#include "bridge/explore/environments.h"
#include "bridge/explore/keep.h"
#include "bridge/explore/recapture.h"
#include "bridge/explore/state_plan.h"
#include "bridge/intercept/environment.h"
#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/values/torch_types.h"
#include "bridge/world/outside_state.h"
#include "explore/compare.h"
#include "explore/guards.h"
#include "explore/linearise.h"
#include "explore/merge.h"
#include "ir/control.h"
#include "passes/pass.h"

namespace modulize {

namespace {

constexpr std::size_t kMaxCaptures = 96;
constexpr std::size_t kMaxKept = 24;
constexpr int kMaxNesting = 6;
// Up to this many decisions every combination is captured; more are flipped one by one, and all of them only where they
// turn out to depend on one another.
constexpr std::size_t kMaxTree = 3, kMaxFallbackTree = 5;

bool same_object(nb::handle a, nb::handle b);

/// Functions that every call of forward makes anew are the same if their code and all that they hold are.
bool same_function(nb::handle a, nb::handle b) {
  PyObject *f = a.ptr(), *g = b.ptr();
  if (PyFunction_GET_CODE(f) != PyFunction_GET_CODE(g) || PyFunction_GET_GLOBALS(f) != PyFunction_GET_GLOBALS(g))
    return false;
  const auto same = [](PyObject* x, PyObject* y) {
    if (!x || !y) return x == y;
    if (TorchTypes::instance().is_tensor(x)) return x == y;
    return same_object(x, y);
  };
  if (!same(PyFunction_GET_DEFAULTS(f), PyFunction_GET_DEFAULTS(g))) return false;
  if (!same(PyFunction_GET_KW_DEFAULTS(f), PyFunction_GET_KW_DEFAULTS(g))) return false;
  PyObject *cells = PyFunction_GET_CLOSURE(f), *others = PyFunction_GET_CLOSURE(g);
  if (!cells || !others) return cells == others;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(cells); ++i) {
    PyObject *x = PyCell_GET(PyTuple_GET_ITEM(cells, i)), *y = PyCell_GET(PyTuple_GET_ITEM(others, i));
    if (x == f && y == g) continue;  // it calls itself
    if (!same(x, y)) return false;
  }
  return true;
}

bool same_object(nb::handle a, nb::handle b) {
  if (a.is(b)) return true;
  if (!Py_IS_TYPE(b.ptr(), Py_TYPE(a.ptr()))) return false;
  if (PyFunction_Check(a.ptr())) return same_function(a, b);
  const int equal = PyObject_RichCompareBool(a.ptr(), b.ptr(), Py_EQ);
  if (equal < 0) PyErr_Clear();  // objects that cannot be compared are equal only by identity
  return equal == 1;
}

/// What was added to the tables of `from` is in those of `to` too.
void share_tables(const Capture& from, Capture& to) {
  to.objects = from.objects;
  to.constants = from.constants;
}

/// Gives `other` the numbers and names that `base` has for the same objects and constants; new ones are added to
/// `base`. Both have the same tables afterwards.
void adopt(Capture& base, Capture& other) {
  adopt_objects(base, other);
  std::map<std::string, std::string> names;  // constants: name in `other` -> name in `base`
  for (const auto& [name, tensor] : other.constants) {
    std::string known;
    for (const auto& [base_name, base_tensor] : base.constants)
      if (base_tensor.is(tensor)) known = base_name;
    if (known.empty()) {
      known = "_tensor_constant" + std::to_string(base.constants.size());
      base.constants.emplace(known, tensor);
    }
    names.emplace(name, known);
  }
  std::vector<TensorSpec> renamed;
  for (const auto& [name, known] : names) {
    renamed.push_back(*other.graph.modules.find_tensor(name));
    renamed.back().path = known;
  }
  for (TensorSpec& spec : renamed)
    if (!other.graph.modules.find_tensor(spec.path)) other.graph.modules.add_tensor(std::move(spec));
  for (const NodeId id : other.graph.order()) {
    Node& node = other.graph[id];
    if (node.op == Opcode::get_attr)
      if (const auto it = names.find(node.target); it != names.end()) node.target = it->second;
  }
  share_tables(base, other);
}

/// Did Python code say `raise` (or `assert`), rather than something inside of torch fail?
bool is_explicit_raise(nb::python_error& error) {
  nb::object trace = error.traceback();
  if (!trace.is_valid() || trace.is_none()) return false;
  while (!nb::object(trace.attr("tb_next")).is_none()) trace = trace.attr("tb_next");
  static const long raise = nb::cast<long>(nb::module_::import_("opcode").attr("opmap")["RAISE_VARARGS"]);
  const long at = nb::cast<long>(trace.attr("tb_lasti"));
  nb::object code = trace.attr("tb_frame").attr("f_code").attr("co_code");
  if (at < 0 || at >= PyBytes_GET_SIZE(code.ptr())) return false;
  return reinterpret_cast<const unsigned char*>(PyBytes_AS_STRING(code.ptr()))[at] == raise;
}

/// The first capture. Without values a decision is taken to be true; where forward raises then, it is an assertion, and
/// the last decision is taken the other way.
void capture_first(nb::handle root, CaptureOptions options, Capture& capture) {
  const bool running = options.is_running();
  std::unordered_map<std::string, bool> outcomes;
  options.outcomes = &outcomes;
  for (;;) {
    try {
      return capture_model(root, options, capture);
    } catch (nb::python_error& error) {
      if (running || capture.decisions.empty() || !is_explicit_raise(error)) throw;
      const auto last = std::find_if(capture.decisions.rbegin(), capture.decisions.rend(),
                                     [&](const Decision& d) { return !outcomes.contains(d.key); });
      if (last == capture.decisions.rend()) throw;
      outcomes[last->key] = false;
      options.because(CaptureReason::raised, capture.graph.where(capture.graph[last->node]));
    }
    capture = Capture();
  }
}

/// Throws where a symbolic capture that finds what the first left outside of the model records something else: it would
/// be frozen.
void require_no_outside_state(nb::handle root, CaptureOptions options, const Capture& first) {
  std::string suspects;
  for (const std::string& name : first.outside_suspects) suspects += (suspects.empty() ? "" : "; ") + name;
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::CaptureError, "forward depends on what is not of the model (" + suspects + "): " + why +
                                             "; give example_inputs, or keep it in the model");
  };
  options.found = first.outside.get();
  options.other_random_numbers = true;
  options.because(CaptureReason::outside_state, suspects);
  Capture second;
  try {
    capture_first(root, options, second);
  } catch (const Error& error) {
    refuse(std::string("captured once more, ") + error.what());
  } catch (nb::python_error& error) {
    if (is_fatal(error)) throw;
    refuse("captured once more, it raises " + text_of(nb::handle(error.value())));
  }
  const auto difference = compare_captures(first.graph, first, second.graph, second, Checks::equal);
  if (difference) {
    const std::string where = difference->node == kNoNode ? "" : first.graph.where(first.graph[difference->node]);
    refuse("captured once more, " + difference->what + (where.empty() ? "" : " at " + where));
  }
  for (const auto& [name, tensor] : first.constants) {
    const auto it = second.constants.find(name);
    if (it == second.constants.end() || it->second.is(tensor)) continue;
    if (!nb::cast<bool>(nb::module_::import_("torch").attr("equal")(tensor, it->second)))
      refuse("captured once more, a tensor that it makes has other values");
  }
}

class Explorer {
 public:
  /// `verify`: what the other mode gives is compared with further captures in it.
  Explorer(nb::handle root, const CaptureOptions& options, bool verify)
      : root_(root), options_(options), verify_(verify) {}

  /// Makes branches of the decisions of `base`, those by the mode included.
  void explore(Capture& base) {
    for (const ModeRead& read : base.mode_reads) flags_[read.path] = read.flag;
    Explored out = decided(base);
    if (!base.mode_reads.empty()) out = with_other_mode(base, std::move(out));
    base.graph = std::move(out.graph);
    nodes_ = std::move(out.nodes);
  }

  /// What a capture with the decisions of `second` should record.
  Graph predict(const Graph& graph, const Capture& second) const {
    std::unordered_map<std::string, bool> outcomes = outcomes_;
    for (const Decision& decision : second.decisions) outcomes[decision.key] = decision.outcome;
    return predict(graph, nodes_, outcomes);
  }

  /// Of all decisions that are known, those of flipped sides included.
  const std::unordered_map<std::string, bool>& outcomes() const { return outcomes_; }
  bool is_mode_merged() const { return is_mode_merged_; }
  /// Attributes of modules that sides and modes other than the first write.
  const std::set<std::string>& written_state() const { return written_state_; }

 private:
  struct Explored {
    Graph graph;
    std::map<std::string, NodeId> nodes;  // key of a decision -> its truth node in `graph`
  };

  Graph predict(const Graph& graph, const std::map<std::string, NodeId>& nodes,
                const std::unordered_map<std::string, bool>& outcomes) const {
    std::unordered_map<NodeId, bool> by_node;
    for (const auto& [key, node] : nodes) {
      const auto alias = aliases_.find(key);
      by_node[node] = outcomes.at(alias == aliases_.end() ? key : alias->second);
    }
    return linearise(graph, by_node, [&](const std::string& path) {
      const auto it = flags_.find(path);
      return it != flags_.end() && it->second;
    });
  }

  void capture(const std::unordered_map<std::string, bool>& outcomes, Capture& out, CaptureReason reason,
               std::string detail) {
    if (++captures_ > kMaxCaptures) throw Failure{"more decisions than can be explored"};
    CaptureOptions options = options_;
    options.outcomes = &outcomes;
    options.because(reason, std::move(detail));
    capture_model(root_, options, out);
  }

  void tell(const std::string& reason, const std::string& what, const std::string& where = {}) const {
    log(LogCategory::explore, {what, reason, where, options_.cause.round});
  }

  struct Failure {
    std::string why;
  };

  /// The decisions of `base` as branches.
  Explored decided(Capture& base) {
    for (const Decision& decision : base.decisions) outcomes_.try_emplace(decision.key, decision.outcome);
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

  static Explored raw(const Capture& base) {
    Explored out;
    out.graph = base.graph;
    for (const Decision& decision : base.decisions) out.nodes[decision.key] = decision.node;
    return out;
  }

  /// Captures with the first decision of `base` that is not in `known` flipped. Nothing if forward raises there; then a
  /// requirement is added.
  bool capture_flipped(Capture& base, const Decision& decision, std::unordered_map<std::string, bool> outcomes,
                       Capture& other, std::vector<Requirement>& requirements) {
    outcomes[decision.key] = !decision.outcome;
    std::optional<std::pair<nb::object, bool>> error;
    try {
      capture(outcomes, other, CaptureReason::decision_flipped, base.graph.where(base.graph[decision.node]));
    } catch (nb::python_error& e) {
      if (is_fatal(e)) throw;
      error.emplace(nb::borrow(e.value()), is_explicit_raise(e));
    }
    if (error) {
      requirements.push_back({decision.node, decision.outcome, error_value(base, decision, *error)});
      return false;
    }
    adopt(base, other);
    merge_notes(base, other);
    for (const Decision& d : other.decisions) outcomes_.try_emplace(d.key, d.outcome);
    return true;
  }

  /// Merges and says where the decisions of all sides stand then.
  std::optional<Explored> merged(const Explored& base, const std::vector<Variant>& variants,
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
    out.graph = std::move(made->graph);
    return out;
  }

  static Variant variant(const Explored& side, const Decision& decision) {
    Condition condition{decision.node, "", decision.outcome};
    return {&side.graph, [condition](NodeId, NodeId) { return condition; }};
  }

  /// Every combination of outcomes: exact, and exponential in the number of decisions.
  Explored tree(Capture& base, std::set<std::string> known, int depth) {
    const auto fresh = std::find_if(base.decisions.begin(), base.decisions.end(),
                                    [&](const Decision& d) { return !known.contains(d.key); });
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

  /// Each decision flipped by itself; decisions that are met on a flipped side alone are explored there.
  Explored linear(Capture& base) {
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

  // A decision that, together with another one, does not do what it does alone; null if there is none.
  const Decision* find_entangled(Capture& base, const Explored& explored) {
    const std::size_t n = base.decisions.size();
    std::vector<std::vector<std::size_t>> sets;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t k = i + 1; k < n; ++k)
        if (n <= 5 || k == i + 1) sets.push_back({i, k});
    sets.emplace_back();
    for (std::size_t i = 0; i < n; ++i) sets.back().push_back(i);
    for (const std::vector<std::size_t>& set : sets) {
      std::unordered_map<std::string, bool> outcomes;
      for (const Decision& decision : base.decisions) outcomes[decision.key] = decision.outcome;
      for (const std::size_t i : set) outcomes[base.decisions[i].key] = !base.decisions[i].outcome;
      Capture actual;
      try {
        capture(outcomes, actual, CaptureReason::decisions_together,
                std::to_string(set.size()) + " of " + std::to_string(n));
      } catch (const Failure& failure) {
        keep(base, base.decisions[set.back()], failure.why);
      } catch (nb::python_error& e) {
        if (is_fatal(e)) throw;
        continue;  // the original refuses these outcomes
      }
      std::unordered_map<std::string, bool> expected = outcomes_;
      for (const auto& [key, outcome] : outcomes) expected[key] = outcome;
      for (const Decision& decision : actual.decisions) expected[decision.key] = decision.outcome;
      if (compare_captures(predict(explored.graph, explored.nodes, expected), base, actual.graph, actual, Checks::end))
        return &base.decisions[set.back()];
    }
    return nullptr;
  }

  // A capture records no gradients: what raises where there are some is not forward.
  static bool asks_for_gradients(const Graph& graph, const Decision& decision) {
    const Value& value = graph[decision.node].args[0];
    if (!value.is_node()) return false;
    const Node& asked = graph[value.as_node()];
    return is_call_of(asked, "builtins.getattr") && asked.args[1] == Value::string("requires_grad");
  }

  Value error_value(Capture& base, const Decision& decision, const std::pair<nb::object, bool>& error) {
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

  // What the flipped capture noted beside its graph.
  void merge_notes(Capture& base, const Capture& other) {
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

  /// What torch's layers write, and buffers, are their own.
  bool is_of_layer(const std::string& name) const {
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

  [[noreturn]] void keep(const Capture& base, const Decision& decision, const std::string& why) const {
    throw_keep_request(base, decision.node, "control flow on the value of a tensor: " + why);
  }

  // With the other mode; without it, and is_mode_merged() false, where it cannot be captured. What must be kept whole
  // for it is kept in that mode alone.
  Explored with_other_mode(Capture& base, Explored first) {
    is_mode_merged_ = false;
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

  // What is of this mode alone must not be frozen either.
  void recapture_side(Capture& other, Explored& side) {
    CaptureOptions options = options_;
    options.more_calls = nullptr;  // they were made in the first mode
    other.graph = std::move(side.graph);
    const Prediction predicted = [&](const Capture& second) {
      std::unordered_map<std::string, bool> outcomes = outcomes_;
      for (const Decision& decision : second.decisions) outcomes[decision.key] = decision.outcome;
      return predict(other.graph, side.nodes, outcomes);
    };
    recapture(root_, options, other, predicted, outcomes_);
    side.graph = std::move(other.graph);
  }

  nb::handle root_;
  CaptureOptions options_;
  bool verify_;
  std::size_t captures_ = 0;
  std::unordered_map<std::string, bool> outcomes_;
  std::map<std::string, NodeId> nodes_;
  std::map<std::string, std::string> aliases_;  // further places of one decision -> its key
  std::map<std::string, bool> flags_;           // path of a mode flag -> its value in the first capture
  bool is_mode_merged_ = true;
  std::set<std::string> written_state_;
};

/// What forward raises itself is the user's, unchanged. Anything else may be for the symbols.
void refuse_symbols(nb::python_error& error) {
  if (is_fatal(error) || is_error(error, ErrorCode::ModulizeError)) return;
  for (PyObject* own : {PyExc_NameError, PyExc_ImportError, PyExc_ArithmeticError, PyExc_OSError})
    if (error.matches(own)) return;
  std::string where;
  nb::object trace = error.traceback(), frame;
  for (; trace.is_valid() && !trace.is_none(); trace = trace.attr("tb_next")) {
    frame = trace.attr("tb_frame");
    if (!is_library_module(text_of(nb::object(frame.attr("f_globals")).attr("get")("__name__", ""))))
      where = text_of(frame.attr("f_code").attr("co_filename")) + ":" + text_of(trace.attr("tb_lineno"));
  }
  const bool is_last =
      frame.is_valid() && !is_library_module(text_of(nb::object(frame.attr("f_globals")).attr("get")("__name__", "")));
  if (is_last && is_explicit_raise(error)) return;
  throw Error(ErrorCode::CaptureError,
              "without inputs forward gets symbols in place of tensors and sizes, and raises " +
                  text_of(error.type().attr("__name__")) + (where.empty() ? "" : " at " + where) + ": " +
                  text_of(nb::handle(error.value())) + ": give example_inputs");
}

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

}  // namespace

void adopt_objects(Capture& base, Capture& other) {
  std::vector<Value> objects;
  for (std::size_t i = 0; i < other.objects.size(); ++i) {
    nb::handle known = other.objects[static_cast<ObjectId>(i)];
    for (std::size_t k = 0; k < base.objects.size(); ++k)
      if (same_object(base.objects[static_cast<ObjectId>(k)], known)) {
        known = base.objects[static_cast<ObjectId>(k)];
        break;
      }
    objects.push_back(base.objects.value(known));
  }
  const std::function<Value(const Value&)> renumbered = [&](const Value& value) {
    return value.is(ValueKind::object) ? objects[value.as_object().id] : value.map_items(renumbered);
  };
  for (const NodeId id : other.graph.order()) {
    Node& node = other.graph[id];
    if (!node.callee.is_none()) node.callee = renumbered(node.callee);
    for (Value& value : node.args) value = renumbered(value);
    for (auto& [key, value] : node.kwargs) value = renumbered(value);
  }
}

Graph without_dead_code(const Graph& graph) {
  Graph out = graph;
  find_pass("dead_code")->run(out, {});
  return out;
}

std::optional<Difference> compare_captures(const Graph& expected, const Capture& base, const Graph& actual,
                                           const Capture& other, Checks checks, Comparison* notes) {
  return first_difference(
      without_dead_code(expected), without_dead_code(actual),
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
      for (;;) {
        const std::size_t loaded = ambient_functions_loaded();
        capture_first(root, options, capture);
        const bool unsorted =
            std::any_of(capture.ambient_questions.begin(), capture.ambient_questions.end(),
                        [&](const AmbientQuestion& q) { return !options.decided.contains(q.question); });
        if (unsorted) {
          ask_in_other_worlds(root, capture, options);
          options.because(CaptureReason::questions_sorted);
        } else if (ambient_functions_loaded() != loaded) {
          options.because(CaptureReason::imported);
        } else if (plan_for_state(root, capture, options, state)) {
          options.because(CaptureReason::state);
        } else {
          break;
        }
        capture = Capture();
      }
      if (capture.outside && !running) require_no_outside_state(root, options, capture);
      Explorer explorer(root, options, running && verify);
      const bool decides = !capture.decisions.empty() || !capture.mode_reads.empty();
      if (decides) explorer.explore(capture);
      // What only another side or mode writes is state, too.
      if (add_to_plan(explorer.written_state(), options, state)) {
        options.because(CaptureReason::state);
        capture = Capture();
        continue;
      }
      if (running && (verify || options.more_calls)) {
        const Prediction predict = [&](const Capture& second) {
          return decides ? explorer.predict(capture.graph, second) : capture.graph;
        };
        recapture(root, options, capture, predict, explorer.outcomes());
        settle_dtypes(root, options, capture, predict);
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
