// A call of a module that outline_blocks makes a graph module of, and questions about what stands in it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/blocks.h"

namespace modulize {

/// Where a node stands inside a value: the keys to follow. A name (ValueKind::name) is a step by attribute.
using ValuePath = std::vector<Value>;
/// Adds each node inside of `value` with its path, which begins with `path`. The first one of a node counts.
void find_paths(const Value& value, ValuePath& path, std::map<NodeId, ValuePath>& out);

struct OutlinedBlock {
  NodeId begin, end;
  std::string home;  // path of the module that was called
  std::string path;  // of the graph module
  std::vector<BlockParameter> parameters;
  std::vector<NodeId> nodes;
  std::vector<bool> inside;  // by NodeId
  Value result;

  bool holds(NodeId id) const { return id < inside.size() && inside[id]; }
};

/// "layer1.conv1" is below "layer1".
bool is_below(std::string_view path, std::string_view parent);

/// A size, a number or the like: what it is can be asked again at any time.
bool is_cheap(const Graph& graph, const Node& node);

/// Can the node be had again where only `given` nodes and what is made of them is there?
template <class Given>
bool can_repeat(const Graph& graph, NodeId id, Given&& given, int depth = 0) {
  if (given(id)) return true;
  if (depth > 32 || !is_cheap(graph, graph[id])) return false;
  bool all = true;
  graph[id].for_each_input([&](NodeId in) { all = all && can_repeat(graph, in, given, depth + 1); });
  return all;
}

}  // namespace modulize
