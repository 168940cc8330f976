// Graph -> .mzir text.
//
//   graph net {
//     module conv1 = existing torch.nn.Conv2d training       class of an object of the model; its mode flag
//     module act = torch.nn.ReLU(inplace=True) for relu      constructor call; base that its call is numbered under
//     module conv2d = torch.nn.Conv2d(3, 8, (3, 3)) for conv2d adopt weight=w, bias=b
//     module module_conv1 = copy conv1 for conv1
//     module module_conv2 = copy conv1 untied for conv2
//     module side = graph inner { ... }
//     parameter w: float32[8, 3, 3, 3]                       also `buffer` and `constant`
//     taken layer1.0.module_add
//     %x = placeholder x
//     %k: other = placeholder k default None keyword_only    also positional_only; `placeholder *args`, `**kwargs`
//     %w: tensor = get_attr w
//     %a: tensor = call_function torch.relu(%x, key=1) in layer1.0#1 of layer1 at "net.py":12
//     %f = call_function @7:"<function f>"(%a)
//     %s: size = call_method size(%a)
//     %c: tensor = call_module conv1(%a)
//     output (%a, {'s': %s})
//   }
//
// One statement a line; inside brackets a line may break. `//` starts a comment. Modules, tensors and taken names stand
// before the nodes. Values: None True False 1 1.5 float("inf") ... 'text' %node @7:"label" torch.float32 (1,) [1] {1:
// 2} slice(None, 2, None). Anything that is not a plain word or path is quoted; a name that would read as something
// else is name("None").
//
// `in PATH#CALL` is the scope: the module call the node ran in, `#0` and the root left out. `of PARENT` follows where
// the call was made from somewhere else than the nearest enclosing scope met above (see scope_tree.h); `of ""` is the
// root. Scopes that no node is in or below are not written.
#pragma once

#include <string>

#include "ir/graph.h"

namespace modulize {

/// The whole graph as text. `parse(print(g))` prints the same text again, for every graph that the verifier accepts.
/// A graph that breaks invariants is printed as well as can be (for messages and dumps), never a crash.
std::string print(const Graph& graph);

/// One value as it stands in the text: `%x`, `(1, %y)`, `torch.float32`, `@7:"<function f>"`.
std::string print_value(const Graph& graph, const Value& value);

/// One node's statement, without indentation and line end: for messages.
std::string print_node(const Graph& graph, NodeId id);

/// What a node computes, in other nodes' bare names: `gt(sum, 0)`. For people.
std::string describe_node(const Graph& graph, NodeId id);

}  // namespace modulize
