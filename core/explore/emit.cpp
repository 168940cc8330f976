// Keeps, for every node, what stands for it at the present place: inside a bracket the copy, after it an item of
// end_if.
#include "explore/emit.h"

#include <algorithm>
#include <optional>
#include <set>

#include "ir/control.h"

namespace modulize {

namespace {

class Emitter {
 public:
  Emitter(const Differences& differences, const Nesting& nesting, const std::vector<Requirement>& requirements)
      : differences_(differences), nesting_(nesting), requirements_(requirements) {}

  Merged run() {
    const Graph& first = differences_.first;
    out_.graph.name = first.name;
    out_.graph.modules = first.modules;
    out_.graph.parameter_kinds = first.parameter_kinds;
    out_.of_variant.resize(differences_.variants.size());
    for (const Variant& variant : differences_.variants) adopt_tree(*variant.graph);
    emit(0, static_cast<std::int32_t>(differences_.order.size()));
    return std::move(out_);
  }

 private:
  /// A value that leaves a bracket: as the first has it, and as the variant has it.
  struct Export {
    Value first, other;
    std::vector<Ref> for_refs;
    std::vector<Place> for_changes;
  };

  // --- the walk ------------------------------------------------------------------------------------------------

  // Writes the nodes at [begin, end) with the hunks that begin inside; `next_hunk_` walks along.
  void emit(std::int32_t begin, std::int32_t end) {
    const std::vector<Hunk>& hunks = differences_.hunks;
    for (std::int32_t at = begin;;) {
      // An insertion at the end belongs behind the bracket around.
      if (at < end && next_hunk_ < hunks.size() && hunks[next_hunk_].begin == at) {
        const Hunk& hunk = hunks[next_hunk_++];
        write_branch(hunk);
        at = hunk.end;
        continue;
      }
      if (at >= end) return;
      copy_node(0, node_at(at));
      ++at;
    }
  }

  NodeId node_at(std::int32_t position) const { return differences_.order[static_cast<std::size_t>(position)]; }
  NodeId other_at(const Hunk& hunk, std::int32_t position) const {
    return differences_.alignments[hunk.variant].second[static_cast<std::size_t>(position)];
  }

  void write_branch(const Hunk& hunk) {
    const NodeId before = hunk.begin > 0 ? out_.graph.last() : kNoNode;
    const ScopeId scope = bracket_scope(before, hunk);
    const NodeId condition = condition_node(hunk.condition, scope);
    const NodeId open = bracket(kBeginIf, {Value::node(condition)}, scope);
    write_side(hunk, hunk.condition.first_is_true);
    const NodeId middle = bracket(kBeginElse, {Value::node(open)}, scope);
    write_side(hunk, !hunk.condition.first_is_true);

    std::vector<Export> exports;
    export_changes(hunk, exports);
    export_own_nodes(hunk, exports);
    export_inner_values(hunk, open, exports);

    ValueList on_true, on_false;
    for (const Export& item : exports) {
      on_true.push_back(hunk.condition.first_is_true ? item.first : item.other);
      on_false.push_back(hunk.condition.first_is_true ? item.other : item.first);
    }
    const NodeId close = bracket(
        kEndIf, {Value::node(middle), Value::tuple(std::move(on_true)), Value::tuple(std::move(on_false))}, scope);
    take_exports(exports, close, scope);
  }

  void write_side(const Hunk& hunk, bool of_first) {
    if (of_first)
      emit(hunk.begin, hunk.end);
    else
      for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j) copy_node(hunk.variant + 1, other_at(hunk, j));
  }

  // --- what leaves a bracket -----------------------------------------------------------------------------------

  // An argument that the variant has otherwise, where either value is made here and the other is there already.
  void export_changes(const Hunk& hunk, std::vector<Export>& exports) const {
    for (const auto& [place, changes] : differences_.changes) {
      if (differences_.position.at(place.node) < hunk.end || changes.size() != 1) continue;
      const Change& change = changes[0];
      if (change.variant != hunk.variant) continue;
      const Value& x = argument_at(differences_.first[place.node], place.path);
      const Value& y = change.other;
      const auto is_made_here = [&](const Ref& ref) { return ref.graph > 0 && nesting_.hunk_of(ref) == &hunk; };
      const bool here = (x.is_node() && differences_.is_inside(hunk, x.as_node())) ||
                        (y.is_node() && is_made_here(differences_.resolved(hunk.variant + 1, y.as_node())));
      if (!here || !is_ready(0, x) || !is_ready(hunk.variant + 1, y)) continue;
      Export item{present(0, x), present(hunk.variant + 1, y), {}, {place}};
      const auto same = std::find_if(exports.begin(), exports.end(),
                                     [&](const Export& e) { return e.first == item.first && e.other == item.other; });
      if (same != exports.end())
        same->for_changes.push_back(place);
      else
        exports.push_back(std::move(item));
    }
  }

  // The nodes of either side that are read later.
  void export_own_nodes(const Hunk& hunk, std::vector<Export>& exports) const {
    for (std::int32_t i = hunk.begin; i < hunk.end; ++i) {
      const Ref ref{0, node_at(i)};
      if (!nesting_.is_read_from(ref, hunk.end) || !present_.contains(ref)) continue;
      Value other = outcome_of(ref.node);
      if (other.is_none()) other = replacement(hunk, ref.node);
      const auto same = std::find_if(exports.begin(), exports.end(),
                                     [&](const Export& e) { return e.first == present_.at(ref) && e.other == other; });
      if (same != exports.end())
        same->for_refs.push_back(ref);
      else
        exports.push_back({present_.at(ref), other, {ref}, {}});
    }
    for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j) {
      const Ref ref{hunk.variant + 1, other_at(hunk, j)};
      if (!nesting_.is_read_from(ref, hunk.end)) continue;
      // Where the first's side runs, nothing reads it.
      const auto same =
          std::find_if(exports.begin(), exports.end(), [&](const Export& e) { return e.other == present_.at(ref); });
      if (same != exports.end())
        same->for_refs.push_back(ref);
      else
        exports.push_back({Value::none(), present_.at(ref), {ref}, {}});
    }
  }

  // What inner hunks made inside the first's stretch, and what is read later still. `open`: the bracket's begin.
  void export_inner_values(const Hunk& hunk, NodeId open, std::vector<Export>& exports) const {
    const auto is_written_inside = [&](const Value& value) { return value.is_node() && value.as_node() > open; };
    for (const auto& [ref, value] : present_) {
      if (ref.graph == 0 || !is_written_inside(value) || ref.graph == hunk.variant + 1) continue;
      if (!nesting_.is_read_from(ref, hunk.end)) continue;
      const Hunk* made = nesting_.hunk_of(ref);
      if (made && made != &hunk && made->begin >= hunk.begin && made->end <= hunk.end)
        exports.push_back({value, Value::none(), {ref}, {}});
    }
    for (const auto& [place, value] : joint_) {
      if (differences_.position.at(place.node) < hunk.end || !is_written_inside(value)) continue;
      // Where the bracket's first side does not run, nor does what changed the argument.
      const Value& x = argument_at(differences_.first[place.node], place.path);
      const bool outside = !(x.is_node() && differences_.is_inside(hunk, x.as_node())) && is_ready(0, x);
      exports.push_back({value, outside ? present(0, x) : Value::none(), {}, {place}});
    }
  }

  // The items of the bracket stand for the values from now on.
  void take_exports(const std::vector<Export>& exports, NodeId close, ScopeId scope) {
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
      for (const Place& place : exports[k].for_changes) joint_[place] = made;
    }
  }

  /// What the variant of the hunk reads wherever the first reads a node of its own stretch: other variants, which read
  /// the node at other places, mean that too. None where it is not the same everywhere.
  Value replacement(const Hunk& hunk, NodeId node) const {
    std::optional<Value> found;
    for (const auto& [place, changes] : differences_.changes) {
      if (!(argument_at(differences_.first[place.node], place.path) == Value::node(node))) continue;
      for (const Change& change : changes) {
        if (change.variant != hunk.variant) continue;
        if (!is_ready(hunk.variant + 1, change.other)) return Value::none();
        Value other = present(hunk.variant + 1, change.other);
        if (found && !(*found == other)) return Value::none();
        found = std::move(other);
      }
    }
    return found.value_or(Value::none());
  }

  /// What stands for a node of the first graph where it does not run: for a decision the first's outcome, so that what
  /// it decides later stays as it was.
  Value outcome_of(NodeId node) const {
    for (const Hunk& hunk : differences_.hunks)
      if (hunk.condition.decision == node) return Value::boolean(hunk.condition.first_is_true);
    for (const auto& [place, changes] : differences_.changes)
      for (const Change& change : changes)
        if (change.condition.decision == node) return Value::boolean(change.condition.first_is_true);
    return Value::none();
  }

  // --- brackets and scopes -------------------------------------------------------------------------------------

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
      if (it == present_.end()) throw MergeFailure{"two captures differ before the decision"};
      const Value value = it->second;
      if (!value.is_node()) throw MergeFailure{"a decision is not known where it is needed"};
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
    const ScopeId a = before == kNoNode ? kRootScope : out_.graph[before].scope;
    return common(a, scope_in_out(differences_.first, differences_.first[node_at(hunk.end)].scope));
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

  // --- arguments -----------------------------------------------------------------------------------------------

  bool is_ready(std::size_t g, const Value& value) const {
    bool ready = true;
    value.for_each_node([&](NodeId in) { ready &= present_.contains(differences_.resolved(g, in)); });
    return ready;
  }

  Value present(std::size_t g, const Value& value) const {
    return value.map_nodes([&](NodeId in) {
      const auto it = present_.find(differences_.resolved(g, in));
      if (it == present_.end()) throw MergeFailure{"a value is needed where it is not made"};
      return it->second;
    });
  }

  // The argument with everything that the variants change in it.
  Value argument(Place& place, const Value& value, ScopeId scope) {
    if (const auto joint = joint_.find(place); joint != joint_.end()) return joint->second;
    if (const auto it = differences_.changes.find(place); it != differences_.changes.end()) {
      Value made = is_ready(0, value) ? present(0, value) : Value::none();
      // The later decision is the outer one: what it gives takes the place of what was there.
      for (const Change& change : it->second)
        made = select(change.condition, made, present(change.variant + 1, change.other), scope);
      return made;
    }
    const auto item = [&](std::size_t i, const Value& inside) {
      place.path.push_back(static_cast<std::uint32_t>(i));
      Value made = argument(place, inside, scope);
      place.path.pop_back();
      return made;
    };
    switch (value.kind()) {
      case ValueKind::tuple:
      case ValueKind::list:
      case ValueKind::slice: {
        if (!value.has_node() && !differences_.has_changes(place.node)) return value;
        ValueList items;
        for (std::size_t i = 0; i < value.items().size(); ++i) items.push_back(item(i, value.items()[i]));
        if (value.is(ValueKind::tuple)) return Value::tuple(std::move(items));
        if (value.is(ValueKind::list)) return Value::list(std::move(items));
        return Value::slice(items[0], items[1], items[2]);
      }
      case ValueKind::dict: {
        if (!value.has_node() && !differences_.has_changes(place.node)) return value;
        ValueDict items;
        for (std::size_t i = 0; i < value.dict_items().size(); ++i) {
          Value key = present(0, value.dict_items()[i].first);
          items.emplace_back(std::move(key), item(i, value.dict_items()[i].second));
        }
        return Value::dict(std::move(items));
      }
      default:
        return present(0, value);
    }
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

  // --- nodes ---------------------------------------------------------------------------------------------------

  void copy_node(std::size_t g, NodeId id) {
    const Graph& graph = differences_.graph(g);
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
    if (g == 0 && differences_.has_changes(id)) {
      write_changed_arguments(id, node);
    } else {
      for (const Value& value : from.args) node.args.push_back(present(g, value));
      for (const auto& [key, value] : from.kwargs) node.kwargs.emplace_back(key, present(g, value));
    }
    const NodeId made = out_.graph.add(std::move(node));
    present_[{g, id}] = Value::node(made);
    if (g == 0) {
      out_.of_first[id] = made;
      write_requirements(id, made);
    } else {
      out_.of_variant[g - 1][id] = made;
    }
  }

  void write_changed_arguments(NodeId id, Node& node) {
    const Node& from = differences_.first[id];
    Place place{id, {}};
    for (std::uint32_t i = 0; i < from.args.size(); ++i) {
      place.path.assign(1, i);
      const NodeId selections = static_cast<NodeId>(out_.graph.id_limit());
      node.args.push_back(argument(place, from.args[i], node.scope));
      // What the first side of a branch gives is selected on that side.
      if (i == 1 && is_call_of(from, kEndIf))
        node.args[1] = moved_before(node.args[0].as_node(), node.args[1], selections);
    }
    for (std::uint32_t i = 0; i < from.kwargs.size(); ++i) {
      place.path.assign(1, static_cast<std::uint32_t>(from.args.size()) + i);
      node.kwargs.emplace_back(from.kwargs[i].first, argument(place, from.kwargs[i].second, node.scope));
    }
  }

  // `made` stands for the decision.
  void write_requirements(NodeId decision, NodeId made) {
    for (const Requirement& requirement : requirements_) {
      if (requirement.decision != decision) continue;
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

  const Differences& differences_;
  const Nesting& nesting_;
  const std::vector<Requirement>& requirements_;
  std::size_t next_hunk_ = 0;
  std::map<Ref, Value> present_;
  std::map<Place, Value> joint_;  // arguments that an item of a bracket stands for
  std::map<std::pair<std::string, std::uint32_t>, ScopeId> scopes_;
  Merged out_;
};

}  // namespace

Merged emit(const Differences& differences, const Nesting& nesting, const std::vector<Requirement>& requirements) {
  return Emitter(differences, nesting, requirements).run();
}

}  // namespace modulize
