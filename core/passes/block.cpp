#include "passes/block.h"

#include "ir/control.h"
#include "ops/attributes.h"
#include "ops/effects_of.h"

namespace modulize {

void find_paths(const Value& value, ValuePath& path, std::map<NodeId, ValuePath>& out) {
  const auto step = [&](Value key, const Value& item) {
    path.push_back(std::move(key));
    find_paths(item, path, out);
    path.pop_back();
  };
  if (value.is_node()) {
    out.emplace(value.as_node(), path);
  } else if (value.is(ValueKind::tuple) || value.is(ValueKind::list)) {
    for (std::size_t i = 0; i < value.items().size(); ++i)
      step(Value::integer(static_cast<std::int64_t>(i)), value.items()[i]);
  } else if (value.is(ValueKind::dict)) {
    for (const auto& [key, item] : value.dict_items()) step(key, item);
  }
}

bool is_below(std::string_view path, std::string_view parent) {
  return path.size() > parent.size() && path.starts_with(parent) && path[parent.size()] == '.';
}

bool is_cheap(const Graph& graph, const Node& node) {
  if (node.type == ValueType::tensor || !node.callee.is_none()) return false;
  if (node.op != Opcode::call_function && node.op != Opcode::call_method) return false;
  // Questions about the world around forward, and what it decides by them.
  if (asks_about_world(node)) return node.args.empty();
  if (node.target == kTruth)
    return node.args.size() == 1 && node.args[0].is_node() && is_cheap(graph, graph[node.args[0].as_node()]);
  if (const AttributeRow* attribute = find_attribute(node)) return attribute->is_fixed;
  if (node.type != ValueType::number && node.type != ValueType::size) return false;
  return node.op == Opcode::call_function ? is_of_python(node) : asks_for_shape(node);
}

}  // namespace modulize
