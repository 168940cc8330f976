// What a prepared graph still computes outside of modules, and what it assumes.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// A call that is no module and not known not to compute.
struct Leftover {
  std::string call;       // qualified name, method name, or the label of an opaque object
  bool computes = false;  // known to the op table, which maps it not, or not with these arguments; false: unknown
  std::string scope;
  std::string where;
};

/// In execution order.
std::vector<Leftover> find_leftovers(const Graph& graph);

/// The texts of the checks that the graph makes when it runs, in order, each once.
std::vector<std::string> find_assumptions(const Graph& graph);

}  // namespace modulize
