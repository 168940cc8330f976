// A graph as a flat list that a page can show: operations with what they read, blocks and branches opened.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace modulize {

enum class ListedKind : std::uint8_t {
  input,
  output,     // of the graph, a block or a side of a branch
  module,     // of the model
  converted,  // a module that a pass has made
  block,
  branch,
  leftover,  // a call that may compute and is no module (see find_leftovers)
  other,
};

std::string_view listed_kind_name(ListedKind kind);

struct ListedNode {
  ListedKind kind = ListedKind::other;
  std::string name;   // unique in the listing: nodes of a block or branch have its path in front
  std::string op;     // opcode; "end" for the output of a block or a side of a branch
  std::string what;   // class of a module, qualified name of a function, name of a method
  std::string path;   // call_module: of the module
  std::string scope;  // "layer1.0", "layer1.0#1"; the sides of a branch are scopes below its path
  std::string file;
  int line = 0;
  std::string text;  // the statement, as in .mzir
  /// Yields a number, a size or another plain value, or nothing: neither a tensor nor what may be one.
  bool is_plain = false;
  /// Is the value of one other node all that it is given?
  bool takes_one_value = false;
  std::string base;  // call_module: what a pass made the module for; empty for the model's own
  std::vector<std::string> inputs;
  std::string condition;   // of a branch, for people: "gt(sum, 0)"
  std::string decided_at;  // of a branch: "file:line", or empty where unknown
};

std::vector<ListedNode> list_nodes(const Graph& graph);

/// Of the computing calls that a graph makes, those that are modules of their own. Code that was kept whole counts as
/// the modules that were made and prepared inside of it; where there are none, as one opaque call.
struct ComputingCalls {
  std::size_t modules = 0, others = 0;
};

ComputingCalls count_computing_calls(const Graph& graph);

}  // namespace modulize
