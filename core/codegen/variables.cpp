#include "codegen/variables.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "ir/regions.h"
#include "ops/attributes.h"
#include "ops/effects_of.h"

namespace modulize {

namespace {

// An expression of more nodes gets a line of its own.
constexpr int kInlineWeight = 6;
constexpr std::size_t kMaxPending = 64;
// A dead tensor whose variable is assigned again within so many statements needs no `del`.
constexpr std::size_t kSoon = 3;

bool is_metadata(const Node& node) {
  const AttributeRow* attribute = find_attribute(node);
  return attribute && attribute->result != ValueType::tensor;
}

bool is_plain_number(ValueType type) { return type == ValueType::number || type == ValueType::size; }

// Cheap to evaluate and without effect, so that it may be evaluated a little later: metadata, attributes of modules,
// arithmetic on numbers.
bool is_light(const Graph& graph, const Node& node, const std::vector<bool>& light) {
  switch (node.op) {
    case Opcode::get_attr:
      return true;
    case Opcode::call_method:
      return asks_for_shape(node) && node.kwargs.empty();
    case Opcode::call_function: {
      if (is_metadata(node)) return true;
      // x.device.type
      if (node.target == "builtins.getattr" && node.args.size() == 2 && node.args[0].is_node() &&
          node.args[1] == Value::string("type"))
        return is_metadata(graph[node.args[0].as_node()]);
      if (node.target == "operator.getitem" && node.args.size() == 2 && node.args[0].is_node()) {
        const NodeId from = node.args[0].as_node();
        const Node& source = graph[from];
        return is_plain_number(source.type) ||
               (light[from] && source.op != Opcode::get_attr && (asks_for_shape(source) || is_metadata(source)));
      }
      return node.type == ValueType::number && is_of_python(node);
    }
    default:
      return false;
  }
}

// Light nodes read once, by a node that only light ones separate from them, are written at their reader.
std::vector<bool> choose_inlined(const Graph& graph, const std::vector<std::uint32_t>& mentions) {
  std::vector<bool> light(graph.id_limit()), inlined(graph.id_limit());
  std::vector<int> weight(graph.id_limit(), 1);
  std::vector<NodeId> pending;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op == Opcode::placeholder) continue;
    if (!pending.empty()) {
      node.for_each_input([&](NodeId in) {
        const auto it = std::find(pending.begin(), pending.end(), in);
        if (it == pending.end()) return;
        inlined[in] = true;
        weight[id] += weight[in];
        pending.erase(it);
      });
    }
    light[id] = is_light(graph, node, light);
    if (!light[id]) pending.clear();
    if (light[id] && mentions[id] == 1 && weight[id] < kInlineWeight) {
      if (pending.size() == kMaxPending) pending.erase(pending.begin());
      pending.push_back(id);
    }
  }
  return inlined;
}

// May the result of this type take over any variable, and be overwritten by any result? Numbers keep their own names:
// they cost no memory, and `x = x.size(0)` reads badly.
bool is_pooled(ValueType type) { return !is_plain_number(type); }

// May a result take over the variable of this value, which dies there? Not that of an option such as `flag=False`.
bool may_overwrite(const Node& node) {
  return is_pooled(node.type) && (node.op != Opcode::placeholder || (node.args.empty() && node.target[0] != '*'));
}

// The name that a person would give: `conv1` for the result of `layer1.0.conv1`.
std::string_view wish(const Node& node) {
  if (node.op != Opcode::call_module && node.op != Opcode::get_attr) return node.name;
  const std::string_view last = std::string_view(node.target).substr(node.target.rfind('.') + 1);
  constexpr std::string_view kNew = "module_";
  if (last.empty() || std::isdigit(static_cast<unsigned char>(last[0]))) return node.name;
  return last.starts_with(kNew) && last.size() > kNew.size() ? last.substr(kNew.size()) : last;
}

}  // namespace

VariablePlan plan_variables(const Graph& graph, SourceNames& names) {
  VariablePlan plan;
  std::vector<std::uint32_t> mentions(graph.id_limit(), 0);
  for (const NodeId id : graph.order())
    if (!is_leave(graph[id])) graph[id].for_each_input([&](NodeId in) { ++mentions[in]; });
  plan.inlined = choose_inlined(graph, mentions);
  plan.variable.resize(graph.id_limit());

  // Statements with what they read.
  std::vector<std::size_t> last_use(graph.id_limit(), 0);
  std::vector<NodeId> read_by(graph.id_limit(), kNoNode);
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op == Opcode::placeholder) {
      const std::string& target = node.target;
      plan.variable[id] = target.substr(std::min(target.find_first_not_of('*'), target.size()));
      continue;
    }
    if (plan.inlined[id]) continue;
    Statement statement{id, {}, {}, {}};
    const auto collect = [&](auto& self, const Node& reader) -> void {
      reader.for_each_input([&](NodeId in) {
        if (plan.inlined[in]) {
          self(self, graph[in]);
        } else if (read_by[in] != id) {
          read_by[in] = id;
          statement.reads.push_back(in);
        }
      });
    };
    if (!is_leave(node)) collect(collect, node);
    for (const NodeId in : statement.reads) last_use[in] = plan.statements.size();
    plan.statements.push_back(std::move(statement));
  }

  // Variables, each with its age: the number it was made as.
  std::unordered_map<std::string, std::size_t> age;
  for (const NodeId id : graph.order())
    if (graph[id].op == Opcode::placeholder) age.emplace(plan.variable[id], age.size());
  std::vector<std::string> free;  // dead variables, the last one freed at the back
  for (std::size_t index = 0; index < plan.statements.size(); ++index) {
    Statement& statement = plan.statements[index];
    for (const NodeId in : statement.reads)
      if (last_use[in] == index) statement.dies.push_back(in);
    const Node& node = graph[statement.node];
    const bool has_result = node.op != Opcode::output && mentions[statement.node] > 0;
    std::string& variable = plan.variable[statement.node];
    if (has_result && is_pooled(node.type)) {
      // Of several, the oldest: `x = add(conv1, x)`.
      for (const NodeId in : statement.dies) {
        if (!may_overwrite(graph[in])) continue;
        if (variable.empty() || age.at(plan.variable[in]) < age.at(variable)) variable = plan.variable[in];
      }
      if (variable.empty() && !free.empty()) {
        variable = std::move(free.back());
        free.pop_back();
      }
    }
    if (has_result && variable.empty()) {
      variable = names.unique(wish(node));
      age.emplace(variable, age.size());
    }
    for (const NodeId in : statement.dies)
      if (is_pooled(graph[in].type) && graph[in].op != Opcode::placeholder && plan.variable[in] != variable)
        free.push_back(plan.variable[in]);
  }

  // Deletions, backwards: when is each variable assigned next?
  std::unordered_map<std::string, std::size_t> next_assigned;
  for (std::size_t index = plan.statements.size(); index-- > 0;) {
    Statement& statement = plan.statements[index];
    const std::string& variable = plan.variable[statement.node];
    for (const NodeId in : statement.dies) {
      // The caller holds the arguments anyway.
      if (graph[in].op == Opcode::placeholder || !is_pooled(graph[in].type)) continue;
      const std::string& dead = plan.variable[in];
      if (dead == variable) continue;
      const auto next = next_assigned.find(dead);
      const std::size_t until = next == next_assigned.end() ? plan.statements.size() : next->second;
      if (until - index > kSoon) statement.deletes.push_back(dead);
    }
    if (!variable.empty()) next_assigned[variable] = index;
  }
  return plan;
}

}  // namespace modulize
