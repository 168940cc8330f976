// How it works. Each variant is aligned with the first graph; a stretch that has no partner is a hunk. Hunks are
// intervals over the positions of the first graph, and all of them together must nest. One walk over the first graph
// writes the merged one: it opens and closes brackets where hunks begin and end, copies the variants' nodes into them,
// and keeps, for every node, what stands for it at the present place (inside a bracket the copy, after it an item of
// end_if).
#include "explore/merge.h"

#include <algorithm>
#include <map>
#include <set>

#include "explore/align.h"
#include "ir/control.h"
#include "ir/verifier.h"
#include "support/error.h"

namespace modulize {

namespace {

constexpr std::int32_t kNone = -1;

/// A node of one of the graphs: graph 0 is the first, graph v + 1 is variant v.
struct Ref {
  std::size_t graph;
  NodeId node;
  bool operator==(const Ref&) const = default;
  bool operator<(const Ref& other) const { return std::pair(graph, node) < std::pair(other.graph, other.node); }
};

struct Hunk {
  std::size_t variant;
  std::int32_t begin, end;  // positions in the first graph, half open
  std::int32_t other_begin, other_end;
  Condition condition;
};

/// An argument of a node of the first graph that variant `variant` has otherwise.
struct Change {
  std::size_t variant;
  Value other;  // in the variant's nodes
  Condition condition;
};

class Failure {
 public:
  std::string why;
};

bool same_shape(const Value& x, const Value& y) {
  if (x.kind() != y.kind()) return false;
  switch (x.kind()) {
    case ValueKind::tuple:
    case ValueKind::list:
    case ValueKind::slice:
      return x.items().size() == y.items().size();
    case ValueKind::dict:
      if (x.dict_items().size() != y.dict_items().size()) return false;
      for (std::size_t i = 0; i < x.dict_items().size(); ++i)
        if (!(x.dict_items()[i].first == y.dict_items()[i].first)) return false;
      return true;
    default:
      return false;
  }
}

class Merger {
 public:
  Merger(const Graph& first, const std::vector<Variant>& variants, const std::vector<Requirement>& requirements)
      : first_(first), variants_(variants), requirements_(requirements) {}

  Merged run() {
    for (const NodeId id : first_.order()) {
      position_[id] = static_cast<std::int32_t>(order_.size());
      order_.push_back(id);
    }
    for (std::size_t v = 0; v < variants_.size(); ++v) compare(v);
    nest();
    find_late_uses();
    out_.graph.name = first_.name;
    out_.graph.modules = first_.modules;
    out_.graph.parameter_kinds = first_.parameter_kinds;
    out_.of_variant.resize(variants_.size());
    for (const Variant& variant : variants_) adopt_tree(*variant.graph);
    emit(0, static_cast<std::int32_t>(order_.size()));
    return std::move(out_);
  }

 private:
  const Graph& graph_of(std::size_t g) const { return g == 0 ? first_ : *variants_[g - 1].graph; }

  // --- differences ---------------------------------------------------------------------------------------

  void compare(std::size_t v) {
    const Graph& other = *variants_[v].graph;
    std::optional<Alignment> found = align(first_, other);
    if (!found) throw Failure{"the two sides of a decision have too little in common"};
    Alignment& al = alignments_.emplace_back(std::move(*found));
    if (al.partner_of_first.empty() || al.partner_of_first.back() == kNone)
      throw Failure{"one side of a decision has no output"};
    keep_brackets_whole(al, first_, al.first, al.partner_of_first, al.partner_of_second);
    keep_brackets_whole(al, other, al.second, al.partner_of_second, al.partner_of_first);
    keep_results_with_brackets(al, other);
    auto& partner = partners_.emplace_back();  // node of the variant -> node of the first
    for (std::size_t j = 0; j < al.second.size(); ++j)
      if (al.partner_of_second[j] != kNone)
        partner[al.second[j]] = al.first[static_cast<std::size_t>(al.partner_of_second[j])];

    const std::int32_t n = static_cast<std::int32_t>(al.first.size());
    std::int32_t i = 0, j = 0;
    while (i < n) {
      if (al.partner_of_first[static_cast<std::size_t>(i)] == j) {
        compare_arguments(v, al.first[static_cast<std::size_t>(i)], al.second[static_cast<std::size_t>(j)]);
        ++i, ++j;
        continue;
      }
      Hunk hunk{v, i, i, j, j, {}};
      while (al.partner_of_first[static_cast<std::size_t>(i)] == kNone) ++i;
      j = al.partner_of_first[static_cast<std::size_t>(i)];
      hunk.end = i, hunk.other_end = j;
      hunk.condition = variants_[v].condition(al.first[static_cast<std::size_t>(hunk.begin)],
                                              al.second[static_cast<std::size_t>(hunk.other_begin)]);
      hunks_.push_back(std::move(hunk));
    }
  }

  // A bracket is aligned with all that it holds, or not at all: its three nodes and what lies between them.
  static void keep_brackets_whole(Alignment&, const Graph& graph, const std::vector<NodeId>& order,
                                  std::vector<std::int32_t>& partner, std::vector<std::int32_t>& back) {
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (is_call_of(graph[order[i]], kBeginIf)) open.push_back(i);
      if (!is_call_of(graph[order[i]], kEndIf)) continue;
      const std::size_t begin = open.back();
      open.pop_back();
      bool whole = true;
      for (std::size_t k = begin; k <= i; ++k)
        whole &= partner[k] != kNone && partner[k] - partner[begin] == static_cast<std::int32_t>(k - begin);
      if (whole) continue;
      for (std::size_t k = begin; k <= i; ++k) {
        if (partner[k] != kNone) back[static_cast<std::size_t>(partner[k])] = kNone;
        partner[k] = kNone;
      }
    }
  }

  static bool is_result(const Graph& graph, const Node& node) {
    return node.target == "operator.getitem" && node.args.size() == 2 && node.args[0].is_node() &&
           is_call_of(graph[node.args[0].as_node()], kEndIf);
  }

  // What a bracket gives out is the same only if the brackets are, and if it is the same item.
  void keep_results_with_brackets(Alignment& al, const Graph& other) const {
    std::unordered_map<NodeId, NodeId> partner;
    for (std::size_t i = 0; i < al.first.size(); ++i) {
      const std::int32_t j = al.partner_of_first[i];
      if (j == kNone) continue;
      const NodeId a = al.first[i], b = al.second[static_cast<std::size_t>(j)];
      const bool result = is_result(first_, first_[a]), other_result = is_result(other, other[b]);
      if (result || other_result) {
        const auto it = result ? partner.find(first_[a].args[0].as_node()) : partner.end();
        if (!result || !other_result || it == partner.end() || it->second != other[b].args[0].as_node() ||
            !(first_[a].args[1] == other[b].args[1])) {
          al.partner_of_first[i] = kNone;
          al.partner_of_second[static_cast<std::size_t>(j)] = kNone;
          continue;
        }
      }
      partner[a] = b;
    }
  }

  void compare_arguments(std::size_t v, NodeId a, NodeId b) {
    const Node &x = first_[a], &y = (*variants_[v].graph)[b];
    std::vector<std::uint32_t> path;
    for (std::uint32_t i = 0; i < x.args.size(); ++i) {
      path.assign(1, i);
      compare_values(v, a, b, x.args[i], y.args[i], path);
    }
    for (std::uint32_t i = 0; i < x.kwargs.size(); ++i) {
      path.assign(1, static_cast<std::uint32_t>(x.args.size()) + i);
      compare_values(v, a, b, x.kwargs[i].second, y.kwargs[i].second, path);
    }
  }

  void compare_values(std::size_t v, NodeId a, NodeId b, const Value& x, const Value& y,
                      std::vector<std::uint32_t>& path) {
    if (x.is_node() && y.is_node()) {
      const auto it = partners_[v].find(y.as_node());
      if (it != partners_[v].end() && it->second == x.as_node()) return;
    } else if (!x.has_node() && !y.has_node() && x == y) {
      return;
    } else if (same_shape(x, y)) {
      const bool is_dict = x.is(ValueKind::dict);
      const std::size_t count = is_dict ? x.dict_items().size() : x.items().size();
      for (std::uint32_t i = 0; i < count; ++i) {
        path.push_back(i);
        if (is_dict)
          compare_values(v, a, b, x.dict_items()[i].second, y.dict_items()[i].second, path);
        else
          compare_values(v, a, b, x.items()[i], y.items()[i], path);
        path.pop_back();
      }
      return;
    }
    if (first_[a].op == Opcode::placeholder) throw Failure{"the defaults of the arguments differ"};
    changes_[{a, path}].push_back({v, y, variants_[v].condition(a, b)});
  }

  // --- nesting ---------------------------------------------------------------------------------------------

  void nest() {
    // Outermost first; of two equal intervals the earlier decision's is the outer one.
    std::stable_sort(hunks_.begin(), hunks_.end(), [](const Hunk& x, const Hunk& y) {
      if (x.begin != y.begin) return x.begin < y.begin;
      const bool empty_x = x.begin == x.end, empty_y = y.begin == y.end;
      if (empty_x != empty_y) return empty_x;  // insertions stand before what begins there
      return x.end > y.end;
    });
    std::vector<std::int32_t> ends;
    for (const Hunk& hunk : hunks_) {
      if (hunk.begin == hunk.end) continue;
      while (!ends.empty() && ends.back() <= hunk.begin) ends.pop_back();
      if (!ends.empty() && ends.back() < hunk.end) throw Failure{"what two decisions change overlaps"};
      ends.push_back(hunk.end);
    }
  }

  // --- values that are read outside of the bracket they are made in --------------------------------------------

  void find_late_uses() {
    // A node of the first graph is read last at this position; nodes of a variant, by everything of that variant.
    const auto use = [&](std::size_t g, NodeId node, std::int32_t at) {
      if (g > 0) {
        const auto it = partners_[g - 1].find(node);
        if (it != partners_[g - 1].end()) g = 0, node = it->second;
      }
      std::int32_t& last = last_use_[{g, node}];
      last = std::max(last, at);
    };
    for (const NodeId id : order_) first_[id].for_each_input([&](NodeId in) { use(0, in, position_.at(id)); });
    for (const auto& [place, changes] : changes_) {
      const std::int32_t at = position_.at(place.first);
      for (const Change& change : changes) {
        change.other.for_each_node([&](NodeId in) { use(change.variant + 1, in, at); });
        if (change.condition.decision != kNoNode) use(0, change.condition.decision, at);
      }
    }
    for (const Hunk& hunk : hunks_) {
      const Alignment& al = alignments_[hunk.variant];
      for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j) {
        const NodeId id = al.second[static_cast<std::size_t>(j)];
        // Inside its own hunk a use is no late one, and a hunk's place is the end of what it replaces.
        (*variants_[hunk.variant].graph)[id].for_each_input([&](NodeId in) {
          const auto& partner = partners_[hunk.variant];
          const bool own = !partner.contains(in) && hunk_of(hunk.variant, in) == &hunk;
          if (!own) use(hunk.variant + 1, in, hunk.end);
        });
      }
      if (hunk.condition.decision != kNoNode) use(0, hunk.condition.decision, hunk.begin);
    }
  }

  const Hunk* hunk_of(std::size_t variant, NodeId node) {
    if (hunk_of_.empty())
      for (const Hunk& hunk : hunks_)
        for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j)
          hunk_of_[{hunk.variant + 1, alignments_[hunk.variant].second[static_cast<std::size_t>(j)]}] = &hunk;
    const auto it = hunk_of_.find({variant + 1, node});
    return it == hunk_of_.end() ? nullptr : it->second;
  }

  // --- writing -------------------------------------------------------------------------------------------------

  // Writes the nodes at [begin, end) with the hunks that begin inside; `next_hunk_` walks along.
  void emit(std::int32_t begin, std::int32_t end) {
    for (std::int32_t at = begin;;) {
      // An insertion at the end belongs behind the bracket around.
      if (at < end && next_hunk_ < hunks_.size() && hunks_[next_hunk_].begin == at) {
        const Hunk& hunk = hunks_[next_hunk_++];
        write_branch(hunk);
        at = hunk.end;
        continue;
      }
      if (at >= end) return;
      copy_node(0, order_[static_cast<std::size_t>(at)]);
      ++at;
    }
  }

  void write_branch(const Hunk& hunk) {
    const Alignment& al = alignments_[hunk.variant];
    const NodeId before = hunk.begin > 0 ? out_.graph.last() : kNoNode;
    const ScopeId scope = bracket_scope(before, hunk);
    const NodeId condition = condition_node(hunk.condition, scope);
    const NodeId open = bracket(kBeginIf, {Value::node(condition)}, scope);
    NodeId middle = kNoNode;
    const auto write_first = [&] { emit(hunk.begin, hunk.end); };
    const auto write_other = [&] {
      for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j)
        copy_node(hunk.variant + 1, al.second[static_cast<std::size_t>(j)]);
    };
    if (hunk.condition.first_is_true) {
      write_first();
      middle = bracket(kBeginElse, {Value::node(open)}, scope);
      write_other();
    } else {
      write_other();
      middle = bracket(kBeginElse, {Value::node(open)}, scope);
      write_first();
    }

    // What goes out: pairs (as the first has it, as the variant has it).
    struct Export {
      Value first, other;
      std::vector<Ref> for_refs;
      std::vector<std::pair<NodeId, std::vector<std::uint32_t>>> for_changes;
    };
    std::vector<Export> exports;
    std::set<Ref> in_pairs;
    // An argument that the variant has otherwise, where either value is made here and the other is there already.
    for (auto& [place, changes] : changes_) {
      if (position_.at(place.first) < hunk.end || changes.size() != 1) continue;
      const Change& change = changes[0];
      if (change.variant != hunk.variant) continue;
      const Value& x = argument_at(first_[place.first], place.second);
      const Value& y = change.other;
      const bool here = (x.is_node() && is_inside(hunk, x.as_node())) ||
                        (y.is_node() && !partners_[hunk.variant].contains(y.as_node()) &&
                         hunk_of(hunk.variant, y.as_node()) == &hunk);
      if (!here || !is_ready(0, x) || !is_ready(hunk.variant + 1, y)) continue;
      Export item{present(0, x), present(hunk.variant + 1, y), {}, {place}};
      const auto same = std::find_if(exports.begin(), exports.end(),
                                     [&](const Export& e) { return e.first == item.first && e.other == item.other; });
      if (same != exports.end())
        same->for_changes.push_back(place);
      else
        exports.push_back(std::move(item));
    }
    for (std::int32_t i = hunk.begin; i < hunk.end; ++i) {
      const Ref ref{0, order_[static_cast<std::size_t>(i)]};
      if (const auto it = last_use_.find(ref);
          it != last_use_.end() && it->second >= hunk.end && present_.contains(ref))
        exports.push_back({present_.at(ref), outcome_of(ref.node), {ref}, {}});
    }
    for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j) {
      const Ref ref{hunk.variant + 1, al.second[static_cast<std::size_t>(j)]};
      if (const auto it = last_use_.find(ref); it != last_use_.end() && it->second >= hunk.end)
        exports.push_back({Value::none(), present_.at(ref), {ref}, {}});
    }
    // Values that inner hunks made inside the first's stretch and that are read later still.
    for (auto& [ref, value] : present_) {
      if (ref.graph == 0 || !value.is_node() || ref.graph == hunk.variant + 1) continue;
      const auto it = last_use_.find(ref);
      if (it == last_use_.end() || it->second < hunk.end) continue;
      const Hunk* made = hunk_of(ref.graph - 1, ref.node);
      if (made && made != &hunk && made->begin >= hunk.begin && made->end <= hunk.end && written_after(open, value))
        exports.push_back({value, Value::none(), {ref}, {}});
    }
    for (const auto& [place, value] : joint_)
      if (position_.at(place.first) >= hunk.end && value.is_node() && written_after(open, value)) {
        // Where the bracket's first side does not run, nor does what changed the argument.
        const Value& x = argument_at(first_[place.first], place.second);
        const bool outside = !(x.is_node() && is_inside(hunk, x.as_node())) && is_ready(0, x);
        exports.push_back({value, outside ? present(0, x) : Value::none(), {}, {place}});
      }

    ValueList on_true, on_false;
    for (const Export& item : exports) {
      on_true.push_back(hunk.condition.first_is_true ? item.first : item.other);
      on_false.push_back(hunk.condition.first_is_true ? item.other : item.first);
    }
    const NodeId close = bracket(
        kEndIf, {Value::node(middle), Value::tuple(std::move(on_true)), Value::tuple(std::move(on_false))}, scope);
    for (std::size_t k = 0; k < exports.size(); ++k) {
      Node item;
      item.op = Opcode::call_function;
      item.target = "operator.getitem";
      item.args = {Value::node(close), Value::integer(static_cast<std::int64_t>(k))};
      item.type = type_of(exports[k].first, exports[k].other);
      item.scope = scope;
      item.name = name_of(exports[k].first, exports[k].other);
      const Value made = Value::node(out_.graph.add(std::move(item)));
      for (const Ref& ref : exports[k].for_refs) present_[ref] = made;
      for (const auto& place : exports[k].for_changes) joint_[place] = made;
    }
  }

  /// What stands for a node of the first graph where it does not run: for a decision the first's outcome, so that what
  /// it decides later stays as it was.
  Value outcome_of(NodeId node) const {
    for (const Hunk& hunk : hunks_)
      if (hunk.condition.decision == node) return Value::boolean(hunk.condition.first_is_true);
    for (const auto& [place, changes] : changes_)
      for (const Change& change : changes)
        if (change.condition.decision == node) return Value::boolean(change.condition.first_is_true);
    return Value::none();
  }

  bool written_after(NodeId open, const Value& value) const { return value.as_node() > open; }

  bool is_inside(const Hunk& hunk, NodeId node) const {
    const std::int32_t at = position_.at(node);
    return hunk.begin <= at && at < hunk.end;
  }

  NodeId bracket(std::string_view target, ValueList args, ScopeId scope) {
    Node node;
    node.op = Opcode::call_function;
    node.target = target;
    node.args = std::move(args);
    node.type = ValueType::other;
    node.scope = scope;
    return out_.graph.add(std::move(node));
  }

  NodeId condition_node(const Condition& condition, ScopeId scope) {
    if (condition.decision != kNoNode) {
      const auto it = present_.find({0, condition.decision});
      if (it == present_.end()) throw Failure{"two captures differ before the decision"};
      const Value value = it->second;
      if (!value.is_node()) throw Failure{"a decision is not known where it is needed"};
      return value.as_node();
    }
    Node node;
    node.op = Opcode::get_attr;
    node.target = condition.flag;
    node.type = ValueType::number;
    node.scope = scope;
    return out_.graph.add(std::move(node));
  }

  // The innermost scope around both the node before and what follows.
  ScopeId bracket_scope(NodeId before, const Hunk& hunk) {
    const NodeId after = order_[static_cast<std::size_t>(hunk.end)];
    ScopeId a = before == kNoNode ? kRootScope : out_.graph[before].scope;
    ScopeId b = scope_in_out(first_, first_[after].scope);
    return common(a, b);
  }

  ScopeId common(ScopeId a, ScopeId b) const {
    while (a != b) {
      if (a > b)
        a = out_.graph.scope(a).parent;
      else
        b = out_.graph.scope(b).parent;
    }
    return a;
  }

  ScopeId scope_in_out(const Graph& graph, ScopeId id) {
    if (id == kRootScope) return kRootScope;
    const Scope& scope = graph.scope(id);
    const auto key = std::pair(scope.path, scope.call);
    if (const auto it = scopes_.find(key); it != scopes_.end()) return it->second;
    const ScopeId parent = scope_in_out(graph, scope.parent);
    return scopes_[key] = out_.graph.add_scope({scope.path, scope.call, parent});
  }

  bool is_ready(std::size_t g, const Value& value) const {
    bool ready = true;
    value.for_each_node([&](NodeId in) {
      Ref ref{g, in};
      if (g > 0)
        if (const auto it = partners_[g - 1].find(in); it != partners_[g - 1].end()) ref = {0, it->second};
      ready &= present_.contains(ref);
    });
    return ready;
  }

  Value present(std::size_t g, const Value& value) const {
    return value.map_nodes([&](NodeId in) {
      Ref ref{g, in};
      if (g > 0)
        if (const auto it = partners_[g - 1].find(in); it != partners_[g - 1].end()) ref = {0, it->second};
      const auto it = present_.find(ref);
      if (it == present_.end()) throw Failure{"a value is needed where it is not made"};
      return it->second;
    });
  }

  static const Value& argument_at(const Node& node, const std::vector<std::uint32_t>& path) {
    const Value* value =
        path[0] < node.args.size() ? &node.args[path[0]] : &node.kwargs[path[0] - node.args.size()].second;
    for (std::size_t i = 1; i < path.size(); ++i)
      value = value->is(ValueKind::dict) ? &value->dict_items()[path[i]].second : &value->items()[path[i]];
    return *value;
  }

  // The argument with everything that the variants change in it.
  Value argument(NodeId a, const Value& value, std::vector<std::uint32_t>& path, ScopeId scope) {
    if (const auto joint = joint_.find({a, path}); joint != joint_.end()) return joint->second;
    if (const auto it = changes_.find({a, path}); it != changes_.end()) {
      Value made = is_ready(0, value) ? present(0, value) : Value::none();
      for (auto change = it->second.rbegin(); change != it->second.rend(); ++change)
        made = select(change->condition, made, present(change->variant + 1, change->other), scope);
      return made;
    }
    switch (value.kind()) {
      case ValueKind::tuple:
      case ValueKind::list:
      case ValueKind::slice: {
        if (!value.has_node() && !has_changes(a)) return value;
        ValueList items;
        for (std::uint32_t i = 0; i < value.items().size(); ++i) {
          path.push_back(i);
          items.push_back(argument(a, value.items()[i], path, scope));
          path.pop_back();
        }
        if (value.is(ValueKind::tuple)) return Value::tuple(std::move(items));
        if (value.is(ValueKind::list)) return Value::list(std::move(items));
        return Value::slice(items[0], items[1], items[2]);
      }
      case ValueKind::dict: {
        if (!value.has_node() && !has_changes(a)) return value;
        ValueDict items;
        for (std::uint32_t i = 0; i < value.dict_items().size(); ++i) {
          path.push_back(i);
          items.emplace_back(present(0, value.dict_items()[i].first),
                             argument(a, value.dict_items()[i].second, path, scope));
          path.pop_back();
        }
        return Value::dict(std::move(items));
      }
      default:
        return present(0, value);
    }
  }

  bool has_changes(NodeId a) const {
    const auto it = changes_.lower_bound({a, {}});
    return it != changes_.end() && it->first.first == a;
  }

  Value select(const Condition& condition, const Value& first, const Value& other, ScopeId scope) {
    if (first == other) return first;
    const Value& on_true = condition.first_is_true ? first : other;
    const Value& on_false = condition.first_is_true ? other : first;
    const Value flag = Value::node(condition_node(condition, scope));
    Node node;
    node.op = Opcode::call_function;
    node.target = kSelect;
    node.type = type_of(on_true, on_false);
    node.name = name_of(on_true, on_false);
    node.args = {flag, on_true, on_false};
    node.scope = scope;
    return Value::node(out_.graph.add(std::move(node)));
  }

  ValueType type_of(const Value& x, const Value& y) const {
    const auto of = [&](const Value& v) {
      if (v.is_node()) return out_.graph[v.as_node()].type;
      if (v.is(ValueKind::boolean) || v.is(ValueKind::integer) || v.is(ValueKind::floating)) return ValueType::number;
      return ValueType::other;
    };
    const ValueType a = of(x), b = of(y);
    if (a == b) return a;
    // None on the side that does not make it.
    if (x.is_none()) return b;
    if (y.is_none()) return a;
    return ValueType::other;
  }

  std::string name_of(const Value& x, const Value& y) const {
    if (x.is_node()) return out_.graph[x.as_node()].name;
    if (y.is_node()) return out_.graph[y.as_node()].name;
    return "";
  }

  // The value with the nodes from `first` on, which nothing else uses, in another place.
  Value moved_before(NodeId place, const Value& value, NodeId first) {
    return value.map_nodes([&](NodeId id) {
      if (id < first) return Value::node(id);
      Node node = out_.graph[id];
      for (Value& argument : node.args) argument = moved_before(place, argument, first);
      return Value::node(out_.graph.insert_before(place, std::move(node)));
    });
  }

  void copy_node(std::size_t g, NodeId id) {
    const Graph& graph = graph_of(g);
    const Node& from = graph[id];
    Node node;
    node.op = from.op;
    node.type = from.type;
    node.name = from.name;
    node.target = from.target;
    node.callee = from.callee;
    node.scope = scope_in_out(graph, from.scope);
    if (from.source != kNoSource) {
      const Source& source = graph.source(from.source);
      node.source = out_.graph.add_source(source.file, source.line);
    }
    if (g == 0 && has_changes(id)) {
      std::vector<std::uint32_t> path;
      for (std::uint32_t i = 0; i < from.args.size(); ++i) {
        path.assign(1, i);
        const NodeId selections = static_cast<NodeId>(out_.graph.id_limit());
        node.args.push_back(argument(id, from.args[i], path, node.scope));
        // What the first side of a branch gives is selected on that side.
        if (i == 1 && is_call_of(from, kEndIf))
          node.args[1] = moved_before(node.args[0].as_node(), node.args[1], selections);
      }
      for (std::uint32_t i = 0; i < from.kwargs.size(); ++i) {
        path.assign(1, static_cast<std::uint32_t>(from.args.size()) + i);
        node.kwargs.emplace_back(from.kwargs[i].first, argument(id, from.kwargs[i].second, path, node.scope));
      }
    } else {
      for (const Value& value : from.args) node.args.push_back(present(g, value));
      for (const auto& [key, value] : from.kwargs) node.kwargs.emplace_back(key, present(g, value));
    }
    const NodeId made = out_.graph.add(std::move(node));
    present_[{g, id}] = Value::node(made);
    if (g == 0)
      out_.of_first[id] = made;
    else
      out_.of_variant[g - 1][id] = made;
    if (g != 0) return;
    for (const Requirement& requirement : requirements_) {
      if (requirement.decision != id) continue;
      Node require;
      require.op = Opcode::call_function;
      require.target = kRequire;
      require.args = {Value::node(made), Value::boolean(requirement.expected), requirement.error};
      require.type = ValueType::other;
      require.scope = out_.graph[made].scope;
      require.source = out_.graph[made].source;
      out_.graph.add(std::move(require));
    }
  }

  void adopt_tree(const Graph& other) {
    ModuleTree& tree = out_.graph.modules;
    for (const ModuleSpec& spec : other.modules.modules())
      if (!tree.find(spec.path)) tree.add(spec);
    for (const TensorSpec& spec : other.modules.tensors())
      if (!tree.find_tensor(spec.path)) tree.add_tensor(spec);
  }

  const Graph& first_;
  const std::vector<Variant>& variants_;
  const std::vector<Requirement>& requirements_;
  std::vector<NodeId> order_;
  std::unordered_map<NodeId, std::int32_t> position_;
  std::vector<Alignment> alignments_;
  std::vector<std::unordered_map<NodeId, NodeId>> partners_;
  std::vector<Hunk> hunks_;
  std::size_t next_hunk_ = 0;
  std::map<std::pair<NodeId, std::vector<std::uint32_t>>, std::vector<Change>> changes_;
  std::map<std::pair<NodeId, std::vector<std::uint32_t>>, Value> joint_;
  std::map<Ref, std::int32_t> last_use_;
  std::map<Ref, const Hunk*> hunk_of_;
  std::map<Ref, Value> present_;
  std::map<std::pair<std::string, std::uint32_t>, ScopeId> scopes_;
  Merged out_;
};

}  // namespace

std::optional<Merged> merge(const Graph& first, const std::vector<Variant>& variants,
                            const std::vector<Requirement>& requirements, std::string* why) {
  try {
    Merged out = Merger(first, variants, requirements).run();
    verify(out.graph);  // a branch may not cut a region in two
    return out;
  } catch (const Error& error) {
    if (why) *why = error.what();
    return std::nullopt;
  } catch (const Failure& failure) {
    if (why) *why = failure.why;
    return std::nullopt;
  }
}

void simplify_selections(Graph& graph) {
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (!is_call_of(node, kSelect) || !(node.args[1] == Value::boolean(true)) ||
        !(node.args[2] == Value::boolean(false)))
      continue;
    const Value flag = node.args[0];
    if (!flag.is_node() || graph[flag.as_node()].op != Opcode::get_attr) continue;
    graph.replace_uses(id, flag);
    graph.erase(id);
  }
}

Graph linearise(const Graph& merged, const std::unordered_map<NodeId, bool>& outcomes, const ModeFlags& flags) {
  Graph out;
  out.name = merged.name;
  out.modules = merged.modules;
  out.parameter_kinds = merged.parameter_kinds;
  for (ScopeId s = 1; s < merged.scopes().size(); ++s) out.add_scope(merged.scope(s));
  std::unordered_map<NodeId, Value> at;  // node of `merged` -> its value in `out`
  std::unordered_map<NodeId, bool> known;
  const auto mapped = [&](const Value& value) {
    return value.map_nodes([&](NodeId in) {
      const auto it = at.find(in);
      return it == at.end() ? Value::none() : it->second;
    });
  };
  const auto outcome = [&](const Value& condition) {
    if (condition.is_node() && flags && merged[condition.as_node()].op == Opcode::get_attr)
      return flags(merged[condition.as_node()].target);
    if (condition.is_node())
      if (const auto it = known.find(condition.as_node()); it != known.end()) return it->second;
    throw Error(ErrorCode::ModulizeError, "a branch depends on a decision whose outcome is not given");
  };
  const auto take_outcome = [&](NodeId id, const Value& value) {
    if (value.is(ValueKind::boolean)) known[id] = value.as_boolean();
    if (!value.is_node()) return;
    if (const auto it = known.find(value.as_node()); it != known.end()) known[id] = it->second;
  };
  std::unordered_map<NodeId, std::size_t> taken;  // end_if -> the argument that counts
  struct Open {
    bool condition;
    bool skipped_before;
  };
  std::vector<Open> open;
  bool skips = false;
  for (const NodeId id : merged.order()) {
    const Node& node = merged[id];
    if (is_call_of(node, kBeginIf)) {
      const bool condition = skips ? false : outcome(node.args[0]);
      open.push_back({condition, skips});
      skips |= !condition;
      continue;
    }
    if (is_call_of(node, kBeginElse)) {
      skips = open.back().skipped_before || open.back().condition;
      continue;
    }
    if (is_call_of(node, kEndIf)) {
      skips = open.back().skipped_before;
      const bool condition = open.back().condition;
      open.pop_back();
      taken[id] = condition ? 1 : 2;
      if (!skips) at[id] = mapped(node.args[taken[id]]);
      continue;
    }
    if (skips || is_call_of(node, kRequire)) continue;
    if (is_call_of(node, kSelect)) {
      const bool condition = outcome(node.args[0]);
      at[id] = mapped(node.args[condition ? 1 : 2]);
      take_outcome(id, node.args[condition ? 1 : 2]);
      continue;
    }
    if (node.target == "operator.getitem" && node.args.size() == 2 && node.args[0].is_node() &&
        is_call_of(merged[node.args[0].as_node()], kEndIf)) {
      const NodeId end = node.args[0].as_node();
      const std::size_t index = static_cast<std::size_t>(node.args[1].as_integer());
      at[id] = at.at(end).items()[index];
      // A decision that leaves its bracket.
      take_outcome(id, merged[end].args[taken.at(end)].items()[index]);
      continue;
    }
    Node copy = node;
    for (Value& value : copy.args) value = mapped(value);
    for (auto& [key, value] : copy.kwargs) value = mapped(value);
    if (node.source != kNoSource) {
      const Source& source = merged.source(node.source);
      copy.source = out.add_source(source.file, source.line);
    }
    // One without an outcome is no decision: with on_dynamic="specialize" it is checked.
    if (is_call_of(node, kTruth))
      if (const auto it = outcomes.find(id); it != outcomes.end()) known[id] = it->second;
    at[id] = Value::node(out.add(std::move(copy)));
  }
  return out;
}

}  // namespace modulize
