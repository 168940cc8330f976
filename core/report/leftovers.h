// What a prepared graph still computes outside of modules, and what it assumes.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// A call that is no module and not known not to compute.
struct Leftover {
  NodeId node = kNoNode;
  std::string call;            // qualified name, method name, or the label of an opaque object
  bool computes = false;       // known to the op table, which maps it not, or not with these arguments; false: unknown
  bool has_module = false;     // the op table maps it: a pass would make a module of it
  bool is_kept = false;        // runs code that is kept whole, of which modules were made inside
  bool yields_tensor = false;  // or several, or may, where the type of its result is unknown
  std::string scope;
  std::string where;
};

/// Of the graph and both sides of its branches, in execution order.
std::vector<Leftover> find_leftovers(const Graph& graph);
/// Of the graph alone.
std::vector<Leftover> leftovers_of(const Graph& graph);

/// The texts of the checks that the graph makes when it runs, in order, each once.
std::vector<std::string> find_assumptions(const Graph& graph);

}  // namespace modulize
