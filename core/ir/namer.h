// Names of new modules, by the default rule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// "call number" of every node that is or becomes a module call: its number among the calls of the same base name in
/// the same scope, in order of execution. The base of a call is
///  - ModuleSpec::base for a module that a pass created,
///  - the last part of the path of any other called module,
///  - `base_of(node)` for function and method calls (empty: takes no number).
/// So the numbers stay the same while passes turn functions into module calls one after the other.
template <class BaseOf>
std::vector<std::uint32_t> call_numbers(const Graph& graph, BaseOf&& base_of);

/// The path of a new module for number `number` of `base` in the scope at `scope_path`: `module_<base>` for 0, else
/// `module_<base>_<number>`, below the scope; counts up while the tree says that the path is taken.
std::string new_module_path(const ModuleTree& tree, std::string_view scope_path, std::string_view base,
                            std::uint32_t number);

/// `path`, or with the next number that the tree does not say to be taken: "a.module_relu_2" counts on from 3.
std::string free_path(const ModuleTree& tree, std::string path);

/// "layer1.0.conv1" -> ("layer1.0", "conv1"); "conv1" -> ("", "conv1").
std::pair<std::string_view, std::string_view> split_path(std::string_view path);
/// "" + "conv1" -> "conv1"; "layer1" + "conv1" -> "layer1.conv1".
std::string join_path(std::string_view parent, std::string_view child);

template <class BaseOf>
std::vector<std::uint32_t> call_numbers(const Graph& graph, BaseOf&& base_of) {
  std::vector<std::uint32_t> numbers(graph.id_limit(), 0);
  std::unordered_map<std::string, std::uint32_t> next;  // "<scope id>:<base>"
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    std::string_view base;
    if (node.op == Opcode::call_module) {
      const ModuleSpec* spec = graph.modules.find(node.target);
      base = spec && !spec->base.empty() ? std::string_view(spec->base) : split_path(node.target).second;
    } else if (node.op == Opcode::call_function || node.op == Opcode::call_method) {
      base = base_of(node);
    }
    if (base.empty()) continue;
    std::string key = std::to_string(node.scope);
    key += ':';
    key += base;
    numbers[id] = next[std::move(key)]++;
  }
  return numbers;
}

}  // namespace modulize
