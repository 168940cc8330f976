#include "explore/guards.h"

#include <string_view>

#include "ir/control.h"

namespace modulize {

namespace {

constexpr std::string_view kTraining = "training";

bool reads_mode(const Node& node) {
  return node.op == Opcode::get_attr && (node.target == kTraining || node.target.ends_with(".training"));
}

/// The path of the flag that was read last at or before `at`; null if none was.
const std::string* last_read(const Graph& graph, NodeId at) {
  for (; at != kNoNode; at = graph[at].prev)
    if (reads_mode(graph[at])) return &graph[at].target;
  return nullptr;
}

/// For people: "the mode (train or eval) of module 'layer1', by which forward decides".
std::string text_of(const ModeRead& read) {
  const std::string module = read.path.substr(0, read.path.size() - kTraining.size());
  return "the mode (train or eval) of " +
         (module.empty() ? std::string("the model") : "module '" + module.substr(0, module.size() - 1) + "'") +
         ", by which forward decides";
}

}  // namespace

void check_leaks(Graph& graph) {
  for (const NodeId id : graph.order())
    if (has_role(graph[id], RuntimeRole::leak)) {
      graph[id].target = graph[id].args[1].is(ValueKind::object) ? kCheckStructure : kCheck;
      if (graph[id].args.size() > 4) graph[id].args.resize(4);  // without the number of the read
    }
}

void check_number(Graph& graph, const Coincidence& number, const std::string& text) {
  const NodeId behind = graph[number.node].next;
  NodeId value = number.node;
  if (number.is_size) {
    Node item;
    item.op = Opcode::call_function;
    item.type = ValueType::number;
    item.target = "operator.getitem";
    item.scope = graph[value].scope;
    item.args = {Value::node(value), Value::integer(0)};
    value = graph.insert_before(behind, std::move(item));
  }
  Node check;
  check.op = Opcode::call_function;
  check.type = ValueType::other;
  check.target = kCheck;
  check.scope = graph[value].scope;
  check.source = graph[number.node].source;
  check.args = {Value::node(value), Value::integer(number.number), Value::string(text)};
  graph.insert_before(behind, std::move(check));
}

void add_mode_checks(Graph& graph, const std::vector<ModeRead>& reads) {
  NodeId at = graph.first();
  while (graph[at].op == Opcode::placeholder) at = graph[at].next;
  std::set<std::string> known;
  for (const ModeRead& read : reads) {
    if (!known.insert(read.path).second) continue;
    Node flag;
    flag.op = Opcode::get_attr;
    flag.type = ValueType::number;
    flag.target = read.path;
    const NodeId value = graph.insert_before(at, std::move(flag));
    Node check;
    check.op = Opcode::call_function;
    check.type = ValueType::other;
    check.target = kCheck;
    check.args = {Value::node(value), Value::boolean(read.flag), Value::string(text_of(read))};
    if (!read.where.empty()) check.args.push_back(Value::string(read.where));
    graph.insert_before(at, std::move(check));
  }
}

Condition mode_condition(const Graph& first, NodeId a, const Graph& other, NodeId b,
                         const std::map<std::string, bool>& flags) {
  const std::string* path = last_read(first, a);
  if (!path) path = last_read(other, b);
  if (!path) return {kNoNode, flags.begin()->first, flags.begin()->second};
  const auto flag = flags.find(*path);
  return {kNoNode, *path, flag != flags.end() && flag->second};
}

std::set<std::string> opened_lists(const Graph& graph) {
  std::set<std::string> out;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (!is_call_of(node, "operator.getitem") || node.args[1].is(ValueKind::string)) continue;
    for (NodeId at = node.args[0].as_node(); out.insert(graph[at].name).second;) {
      const Node& holder = graph[at];
      if (!is_call_of(holder, "operator.getitem") && !is_call_of(holder, "builtins.getattr")) break;
      at = holder.args[0].as_node();
    }
  }
  return out;
}

std::set<std::string> length_checks(const Graph& graph, const Graph& lean, const std::set<std::string>& harmless,
                                    bool* others) {
  std::set<std::string> out;
  const std::set<std::string> opened = opened_lists(lean);
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    const bool is_leak = is_call_of(node, kLeak) && node.args[1].is(ValueKind::object);
    if ((!is_leak && !is_check(node)) || !harmless.contains(node.name)) continue;
    const bool is_structure = is_leak || is_call_of(node, kCheckStructure);
    const Node* list = node.args[0].is_node() ? &graph[node.args[0].as_node()] : nullptr;
    if (list && !is_structure) list = is_length(*list) ? &graph[list->args[0].as_node()] : nullptr;
    if (list && !opened.contains(list->name))
      out.insert(node.name);
    else if (others)
      *others = true;
  }
  return out;
}

}  // namespace modulize
