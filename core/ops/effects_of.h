// What the calls of a graph may do: the one place that passes, source and captures ask.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/effects.h"
#include "ir/graph.h"
#include "ops/op_row.h"

namespace modulize {

/// By the tables of operations, layers, attributes and runtime calls; kAnything for what none of them has.
///
/// A module has hooks, and tools put others in its place: what a call of one does to the state of modules is unknown,
/// whatever its class.
Effects effects_of(const Node& node, const Graph& graph);

/// May the node go where nobody reads what it yields?
bool may_go_unread(const Node& node, const Graph& graph);
/// Is it a call of a function or method that may change a tensor or an object?
bool may_write_memory(const Node& node, const Graph& graph);
/// A question about the world around forward, such as torch.compiler.is_compiling().
bool asks_about_world(const Node& node);
/// A call of an operator, a builtin or a function of `math`: on numbers it has no effect.
bool is_of_python(const Node& node);
/// A read of a tensor's size, or of how many of something it has.
bool asks_for_shape(const Node& node);

/// Of a call by its name alone, whatever it is given.
Raises raises_of_call(Opcode op, std::string_view target);
Tells tells_of_call(Opcode op, std::string_view target);

/// The functions that act and yield nothing anybody reads, by qualified name: a torch.fx graph must not drop them.
std::vector<std::string> functions_that_act();

}  // namespace modulize
