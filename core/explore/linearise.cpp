#include "explore/linearise.h"

#include "ir/control.h"
#include "support/error.h"

namespace modulize {

Graph linearise(const Graph& merged, const std::unordered_map<NodeId, bool>& outcomes, const ModeFlags& flags,
                const std::set<NodeId>& idle) {
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
    // One without an outcome is no decision: with on_dynamic="specialize" it is checked.
    if (is_call_of(node, kTruth))
      if (const auto it = outcomes.find(id); it != outcomes.end()) known[id] = it->second;
    if (idle.contains(id)) continue;
    Node copy = node;
    for (Value& value : copy.args) value = mapped(value);
    for (auto& [key, value] : copy.kwargs) value = mapped(value);
    if (node.source != kNoSource) {
      const Source& source = merged.source(node.source);
      copy.source = out.add_source(source.file, source.line);
    }
    at[id] = Value::node(out.add(std::move(copy)));
  }
  return out;
}

}  // namespace modulize
