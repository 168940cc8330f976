#include "passes/block_call.h"

#include <set>

namespace modulize {

namespace {

/// What the call gives for the block's parameters.
void bind_parameters(const OutlinedBlock& block, ValueList& args, Kwargs& kwargs) {
  // Up to the last that only a position can give, all are given.
  std::size_t by_position = 0;
  for (std::size_t i = 0; i < block.parameters.size(); ++i) {
    const BlockParameter& p = block.parameters[i];
    const bool is_given = p.kind == ParameterKind::var_positional
                              ? !p.value.items().empty()
                              : p.kind == ParameterKind::positional_only && !(p.fallback && p.value == *p.fallback);
    if (is_given) by_position = i + 1;
  }
  bool positional = true;
  for (std::size_t i = 0; i < block.parameters.size(); ++i) {
    const BlockParameter& p = block.parameters[i];
    const Value value = without_unknown(p.value);
    if (p.kind == ParameterKind::var_positional) {
      args.insert(args.end(), value.items().begin(), value.items().end());
    } else if (p.kind == ParameterKind::var_keyword) {
      for (const auto& [key, item] : value.dict_items())
        if (key.is(ValueKind::string)) kwargs.emplace_back(key.text(), item);
    } else if (i >= by_position && p.fallback && (value == *p.fallback || p.value.is(ValueKind::ellipsis))) {
      positional = false;
    } else if (positional && p.kind != ParameterKind::keyword_only) {
      args.push_back(value);
    } else {
      kwargs.emplace_back(p.name, value);
    }
  }
}

class BlockCall {
 public:
  BlockCall(Graph& graph, const OutlinedBlock& block, const BlockGraph& inner, const BlockOutputs& outputs)
      : graph_(graph),
        block_(block),
        inner_(inner),
        outputs_(outputs),
        by_dict_(outputs.handed_out.begin(), outputs.handed_out.end()) {}

  NodeId run() {
    ValueList args;
    Kwargs kwargs;
    bind_parameters(block_, args, kwargs);
    for (const auto& [name, node] : inner_.further) kwargs.emplace_back(name, Value::node(node));
    if (!inner_.taken.empty()) {
      carrier_ = insert(Opcode::call_function, "builtins.dict", {}, {}, ValueType::other);
      kwargs.emplace_back(inner_.taken, Value::node(carrier_));
    }
    const ValueType type = block_.result.is_node() ? graph_[block_.result.as_node()].type : ValueType::other;
    call_ = insert(Opcode::call_module, block_.path, std::move(args), std::move(kwargs), type);
    for (const NodeId id : outputs_.read) resolve(id);
    if (!outputs_.read.empty()) redirect_users();
    return call_;
  }

 private:
  NodeId insert(Opcode op, std::string target, ValueList args, Kwargs kwargs, ValueType type) {
    const Node& begin = graph_[block_.begin];
    Node node;
    node.op = op;
    node.target = std::move(target);
    node.args = std::move(args);
    node.kwargs = std::move(kwargs);
    node.type = type;
    node.scope = graph_.scope(begin.scope).parent;
    node.source = begin.source;
    return graph_.insert_before(block_.end, std::move(node));
  }

  // What stands outside for a node of the block: an item of the dict, a part of the result, or the same once more.
  NodeId resolve(NodeId id) {
    if (!block_.holds(id)) return id;
    if (const auto it = made_.find(id); it != made_.end()) return it->second;
    NodeId at = call_;
    if (by_dict_.contains(id))
      at = insert(Opcode::call_function, "operator.getitem", {Value::node(carrier_), Value::string(graph_[id].name)},
                  {}, graph_[id].type);
    else if (const auto it = outputs_.results.find(id); it != outputs_.results.end())
      at = part_of_result(it->second, graph_[id].type);
    else
      at = repeat(id);
    return made_[id] = at;
  }

  NodeId part_of_result(const ValuePath& path, ValueType part_type) {
    NodeId at = call_;
    for (std::size_t i = 0; i < path.size(); ++i) {
      const Value& step = path[i];
      const ValueType type = i + 1 == path.size() ? part_type : ValueType::other;
      if (step.is(ValueKind::name))
        at = insert(Opcode::call_function, "builtins.getattr", {Value::node(at), Value::string(step.text())}, {}, type);
      else
        at = insert(Opcode::call_function, "operator.getitem", {Value::node(at), step}, {}, type);
    }
    return at;
  }

  NodeId repeat(NodeId id) {
    const auto mapped = [&](const Value& value) {
      return value.map_nodes([&](NodeId in) { return Value::node(resolve(in)); });
    };
    const Node node = graph_[id];
    ValueList args;
    for (const Value& value : node.args) args.push_back(mapped(value));
    Kwargs kwargs;
    for (const auto& [key, value] : node.kwargs) kwargs.emplace_back(key, mapped(value));
    return insert(node.op, node.target, std::move(args), std::move(kwargs), node.type);
  }

  void redirect_users() {
    const auto moved = [&](const Value& value) {
      return value.map_nodes([&](NodeId in) {
        const auto it = made_.find(in);
        return Value::node(it == made_.end() ? in : it->second);
      });
    };
    for (NodeId id = graph_[block_.end].next; id != kNoNode; id = graph_[id].next) {
      bool touched = false;
      graph_[id].for_each_input([&](NodeId in) { touched = touched || made_.contains(in); });
      if (!touched) continue;
      Node& node = graph_[id];
      for (Value& value : node.args) value = moved(value);
      for (auto& [key, value] : node.kwargs) value = moved(value);
      node.callee = moved(node.callee);
    }
  }

  Graph& graph_;
  const OutlinedBlock& block_;
  const BlockGraph& inner_;
  const BlockOutputs& outputs_;
  const std::set<NodeId> by_dict_;
  NodeId call_ = kNoNode, carrier_ = kNoNode;
  std::map<NodeId, NodeId> made_;  // node of the block -> node behind it
};

}  // namespace

NodeId write_block_call(Graph& graph, const OutlinedBlock& block, const BlockGraph& inner,
                        const BlockOutputs& outputs) {
  return BlockCall(graph, block, inner, outputs).run();
}

}  // namespace modulize
