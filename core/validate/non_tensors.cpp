// A module that takes or gives something other than tensors: quantizers wrap tensors only.
#include <set>

#include "validate/rule.h"

namespace modulize {

namespace {

/// What a value is, for people; empty for tensors, None and what is not known.
std::string non_tensor(const Graph& graph, const Value& value) {
  switch (value.kind()) {
    case ValueKind::boolean:
    case ValueKind::integer:
    case ValueKind::floating:
      return "a number";
    case ValueKind::string:
      return "a text";
    case ValueKind::object:
      return "an object, " + *value.as_object().label;
    case ValueKind::node:
      switch (graph[value.as_node()].type) {
        case ValueType::number:
          return "a number";
        case ValueType::size:
          return "a size";
        default:
          return "";
      }
    case ValueKind::tuple:
    case ValueKind::list:
      for (const Value& item : value.items())
        if (std::string inner = non_tensor(graph, item); !inner.empty()) return inner;
      return "";
    case ValueKind::dict:
      for (const auto& [key, item] : value.dict_items())
        if (std::string inner = non_tensor(graph, item); !inner.empty()) return inner;
      return "";
    default:
      return "";
  }
}

}  // namespace

void find_non_tensors(const ModelView& model, Findings& out) {
  std::set<std::string> met;
  model.for_each_node([&](const GraphPart& part, const Node& node) {
    if (node.op != Opcode::call_module) return;
    const ModuleSpec* spec = part.graph->modules.find(node.target);
    // Our own take settings and numbers in the call: that is how they are made.
    if (!spec || spec->kind != ModuleKind::existing || spec->type.starts_with("modulize.")) return;
    const std::string path = part.path(node.target), where = part.graph->where(node);
    if (!met.insert(path).second) return;
    std::string given;
    for (const Value& value : node.args)
      if (given.empty()) given = non_tensor(*part.graph, value);
    for (const auto& [key, value] : node.kwargs)
      if (given.empty()) given = non_tensor(*part.graph, value);
    if (!given.empty())
      out.push_back({FindingKind::non_tensor_input, path, where,
                     "the module " + shown_path(path) + " is called with " + given +
                         ": a wrapper of a quantizer passes it on or refuses it",
                     "give it to the constructor, or switch the input quantizer of this module off"});
    if (node.type == ValueType::other)
      out.push_back(
          {FindingKind::non_tensor_output, path, where,
           "the module " + shown_path(path) + " returns several values or an object: one output range does not fit",
           "give each value a quantizer of its own, or open the module (decompose_attention for attention)"});
  });
}

}  // namespace modulize
