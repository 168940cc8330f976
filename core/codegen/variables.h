// Which nodes become statements, which stand inside another's expression, and the variable each result lives in.
#pragma once

#include <string>
#include <vector>

#include "codegen/source_names.h"
#include "ir/graph.h"

namespace modulize {

struct Statement {
  NodeId node;  // the leave of a region is one too: it ends a block
  /// Nodes with a variable that the expression reads, in order of first mention.
  std::vector<NodeId> reads;
  /// Those of `reads` that nothing reads afterwards.
  std::vector<NodeId> dies;
  /// Variables to delete after the statement: they hold a dead tensor and are not assigned again soon.
  std::vector<std::string> deletes;
};

struct VariablePlan {
  std::vector<Statement> statements;
  /// By NodeId: the expression is written where its only reader stands.
  std::vector<bool> inlined;
  /// By NodeId: the variable; empty if nothing reads the node, or if it is inlined.
  std::vector<std::string> variable;
};

/// A result takes the variable of an argument that dies in its statement, else the variable that died last, else a
/// new one named after the node: chains read `x = f(x)`, and no dead tensor is held for long, which would cost memory.
VariablePlan plan_variables(const Graph& graph, SourceNames& names);

}  // namespace modulize
