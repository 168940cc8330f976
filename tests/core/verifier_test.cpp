// One negative test an invariant at least; the numbers are those above verifier.cpp.
#include "ir/verifier.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "ir/printer.h"
#include "support/error.h"

namespace modulize {
namespace {

// What the verifier says, or "accepted".
std::string verdict(const Graph& graph) {
  try {
    verify(graph);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::VerifierError);
    return e.what();
  }
  return "accepted";
}

std::string verdict(const std::string& lines) { return verdict(parse("graph net {\n" + lines + "\n}\n")); }

Graph small() {
  return parse(
      "graph net {\n"
      "  module conv = existing torch.nn.Conv2d\n"
      "  %x = placeholder x\n"
      "  %y = call_module conv(%x)\n"
      "  %z = call_function torch.relu(%y)\n"
      "  output %z\n"
      "}\n");
}

TEST(Verifier, accepts_a_graph_with_everything) {
  EXPECT_EQ(
      verdict("module \"\" = existing Net training\n"
              "module conv = existing torch.nn.Conv2d\n"
              "module made = torch.nn.Conv2d(3, (1, 2), bias=True) for conv2d adopt weight=w\n"
              "module copied = copy conv for conv\n"
              "module side = graph inner {\n"
              "%a = placeholder a\n%b = placeholder b default 1\n%k = placeholder k keyword_only\noutput (%a, %b)\n"
              "}\n"
              "parameter w: float32[3]\n"
              "%x = placeholder x positional_only\n%y = placeholder y default 2\n%r = placeholder *rest\n"
              "%k = placeholder k keyword_only\n%kw = placeholder **kwargs\n"
              "%w = get_attr w\n%t = get_attr training\n%t2 = get_attr layer.training\n"
              "%a = call_module conv(%x) in layer\n%b = call_module made(%a) in layer.0\n"
              "%c = call_module copied(%b) in layer\n%d = call_module side(%c, k=%w)\n"
              "%e = call_function @3:\"f\"(%d) in layer#1\n"
              "output {'e': %e}"),
      "accepted");
}

TEST(Verifier, invariant_1_links_are_whole) {
  Graph g = small();
  g[2].prev = 0;
  EXPECT_EQ(verdict(g), "invariant 1: node 2 is not linked back to the node before it");
  g = small();
  g[1] = Node{};  // what a careless rewrite does: the links are gone
  EXPECT_EQ(verdict(g), "invariant 1: node 1 is not linked back to the node before it");
  g = small();
  g[2].alive = false;
  EXPECT_EQ(verdict(g), "invariant 1: node 2 is linked and erased");
  g = small();
  g[2].next = 77;
  EXPECT_EQ(verdict(g), "invariant 1: node 77 is linked and does not exist");
  g = small();
  g[1].next = kNoNode;
  EXPECT_EQ(verdict(g), "invariant 1: the execution order links 2 of 4 nodes");
}

TEST(Verifier, invariant_2_placeholders_come_first) {
  EXPECT_EQ(verdict("%x = placeholder x\n%y = call_method relu(%x)\n%z = placeholder z\noutput %y"),
            "invariant 2: `%z = placeholder z` stands after a node that is none");
}

TEST(Verifier, invariant_3_one_output_at_the_end) {
  EXPECT_EQ(verdict("%x = placeholder x"), "invariant 3: graph 'net' does not end in an output node");
  EXPECT_EQ(verdict("%x = placeholder x\noutput %x\n%y = call_method relu(%x)"),
            "invariant 3: nodes stand after the output node `output %x`");
  EXPECT_EQ(verdict("%x = placeholder x\noutput %x\noutput %x"),
            "invariant 3: nodes stand after the output node `output %x`");
  Graph g = small();
  g[3].args.clear();
  EXPECT_EQ(verdict(g), "invariant 3: the output has not exactly one argument: `output `");
  g = small();
  g[3].kwargs.emplace_back("k", Value::none());
  EXPECT_EQ(verdict(g), "invariant 3: the output has not exactly one argument: `output %z`");
}

TEST(Verifier, invariant_4_names_are_unique_identifiers) {
  EXPECT_EQ(verdict("%\"a b\" = placeholder x\noutput None"),
            "invariant 4: the name 'a b' is not an identifier: `%\"a b\" = placeholder x`");
  EXPECT_EQ(verdict("%1 = placeholder x\noutput None"),
            "invariant 4: the name '1' is not an identifier: `%1 = placeholder x`");
  Graph g = small();
  g[2].name = "y";
  EXPECT_EQ(verdict(g), "invariant 4: a second node is called 'y': `%y = call_function torch.relu(%y)`");
}

TEST(Verifier, invariant_5_uses_stand_after_definitions) {
  Graph g = small();
  g[1].args[0] = Value::list({Value::node(2)});
  EXPECT_EQ(verdict(g), "invariant 5: `%y = call_module conv([%z])` uses %z, which does not stand before it");
  g = small();
  g[1].args[0] = Value::node(1);
  EXPECT_EQ(verdict(g), "invariant 5: `%y = call_module conv(%y)` uses %y, which does not stand before it");
  g = small();
  g.erase(1);
  EXPECT_EQ(verdict(g), "invariant 5: `%z = call_function torch.relu(%<dead 1>)` uses an erased node");
  g = small();
  g[2].kwargs.emplace_back("k", Value::node(99));
  EXPECT_EQ(verdict(g), "invariant 5: `%z = call_function torch.relu(%y, k=%<dead 99>)` uses an erased node");
}

TEST(Verifier, invariant_6_parameter_kinds_are_pythons) {
  Graph g = small();
  g.parameter_kinds.clear();
  EXPECT_EQ(verdict(g), "invariant 6: graph 'net' has 1 placeholders and 0 parameter kinds");
  EXPECT_EQ(verdict("%x = placeholder *x keyword_only\noutput None"),
            "invariant 6: keyword_only does not agree with the stars of `%x = placeholder *x keyword_only`");
  EXPECT_EQ(verdict("%x = placeholder x var_positional\noutput None"),
            "invariant 6: var_positional does not agree with the stars of `%x = placeholder x var_positional`");
  EXPECT_EQ(verdict("%x = placeholder **x var_positional\noutput None"),
            "invariant 6: var_positional does not agree with the stars of `%x = placeholder **x var_positional`");
  EXPECT_EQ(verdict("%x = placeholder x\n%y = placeholder y positional_only\noutput None"),
            "invariant 6: positional_only stands after positional_or_keyword: `%y = placeholder y positional_only`");
  EXPECT_EQ(verdict("%x = placeholder **x\n%y = placeholder *y\noutput None"),
            "invariant 6: var_positional stands after var_keyword: `%y = placeholder *y`");
  EXPECT_EQ(verdict("%x = placeholder *x\n%y = placeholder *y\noutput None"),
            "invariant 6: var_positional stands after var_positional: `%y = placeholder *y`");
}

TEST(Verifier, invariant_7_parameters_and_defaults) {
  EXPECT_EQ(verdict("%x = placeholder x\n%y = placeholder x\noutput None"),
            "invariant 7: a second parameter is called 'x': `%y = placeholder x`");
  EXPECT_EQ(verdict("%x = placeholder *\"\"\noutput None"),
            "invariant 7: a parameter has no name: `%x = placeholder *\"\"`");
  EXPECT_EQ(verdict("%x = placeholder x default 1\n%y = placeholder y\noutput None"),
            "invariant 7: a parameter without default follows one with: `%y = placeholder y`");
  EXPECT_EQ(verdict("%x = placeholder x default 1\n%y = placeholder y keyword_only\noutput None"), "accepted");
  EXPECT_EQ(verdict("%x = placeholder *x default 1\noutput None"),
            "invariant 7: a starred parameter has no default: `%x = placeholder *x default 1`");
  EXPECT_EQ(verdict("%x = placeholder x\n%y = placeholder y default [%x]\noutput None"),
            "invariant 7: a default uses a node: `%y = placeholder y default [%x]`");
  Graph g = small();
  g[0].args = {Value::none(), Value::none()};
  EXPECT_EQ(verdict(g), "invariant 7: a placeholder has only a default: `%x = placeholder x default None`");
}

TEST(Verifier, invariant_8_targets_and_callees) {
  EXPECT_EQ(verdict("%x = call_function \"\"()\noutput None"),
            "invariant 8: a function needs either a target or a callee: `%x = call_function \"\"()`");
  Graph g = small();
  g[2].callee = Value::object(7, "f");
  EXPECT_EQ(verdict(g), "invariant 8: a function needs either a target or a callee: `%z = call_function @7:\"f\"(%y)`");
  EXPECT_EQ(verdict("%x = placeholder x\n%y = call_function %x()\noutput None"),
            "invariant 8: the callee is no object: `%y = call_function %x()`");
  EXPECT_EQ(verdict("%x = call_method relu()\noutput None"),
            "invariant 8: a method needs the object it is called on: `%x = call_method relu()`");
  EXPECT_EQ(verdict("%x = call_method \"\"(1)\noutput None"),
            "invariant 8: the target is empty: `%x = call_method \"\"(1)`");
  g = small();
  g[1].callee = Value::object(7, "f");
  EXPECT_EQ(verdict(g), "invariant 8: only functions have a callee: `%y = call_module conv(%x)`");
}

TEST(Verifier, invariant_9_attributes_are_declared) {
  EXPECT_EQ(verdict("%x = get_attr w\noutput %x"), "invariant 9: the module tree has no tensor 'w': `%x = get_attr w`");
  EXPECT_EQ(verdict("module m = existing T\n%x = get_attr m\noutput %x"), "accepted");
  EXPECT_EQ(verdict("%x = get_attr _modulize_module\noutput %x"), "accepted");
  EXPECT_EQ(verdict("%x = get_attr nottraining\noutput %x"),
            "invariant 9: the module tree has no tensor 'nottraining': `%x = get_attr nottraining`");
  Graph g = parse("graph net {\nparameter w: float32[]\n%x = get_attr w\noutput %x\n}");
  g[0].args = {Value::none()};
  EXPECT_EQ(verdict(g), "invariant 9: a get_attr takes no arguments: `%x = get_attr w`");
}

TEST(Verifier, invariant_10_called_modules_are_declared) {
  EXPECT_EQ(verdict("%x = placeholder x\n%y = call_module conv(%x)\noutput %y"),
            "invariant 10: the module tree has no module 'conv': `%y = call_module conv(%x)`");
  EXPECT_EQ(verdict("parameter conv: float32[]\n%x = placeholder x\n%y = call_module conv(%x)\noutput %y"),
            "invariant 10: the module tree has no module 'conv': `%y = call_module conv(%x)`");
}

TEST(Verifier, invariant_11_no_keyword_twice) {
  EXPECT_EQ(verdict("%x = call_function f(a=1, b=2, a=3)\noutput %x"),
            "invariant 11: the keyword 'a' is given twice: `%x = call_function f(a=1, b=2, a=3)`");
  EXPECT_EQ(verdict("module m = T(a=1, a=1)\noutput None"), "invariant 11: the keyword 'a' is given twice: module 'm'");
}

TEST(Verifier, invariant_12_modules_have_what_their_kind_needs) {
  EXPECT_EQ(verdict("module m = existing \"\"\noutput None"), "invariant 12: module 'm' has no class");
  EXPECT_EQ(verdict("module m = copy other\noutput None"),
            "invariant 12: module 'm' is a copy of 'other', which is no module of the tree");
  EXPECT_EQ(verdict("module a = existing T\nmodule b = copy a\nmodule c = copy b\noutput None"),
            "invariant 12: module 'c' is a copy of the copy 'b'");
  EXPECT_EQ(verdict("module a = copy a\noutput None"), "invariant 12: module 'a' is a copy of the copy 'a'");
  const auto with = [](auto&& edit) {
    Graph g = small();
    edit(*g.modules.find("conv"));
    return verdict(g);
  };
  EXPECT_EQ(with([](ModuleSpec& m) { m.kind = ModuleKind::graph; }), "invariant 12: module 'conv' has a class");
  EXPECT_EQ(with([](ModuleSpec& m) { m.kind = ModuleKind::graph, m.type = ""; }),
            "invariant 12: module 'conv' has no graph");
  EXPECT_EQ(with([](ModuleSpec& m) { m.graph = std::make_shared<const Graph>(small()); }),
            "invariant 12: module 'conv' has a graph and is none");
  EXPECT_EQ(with([](ModuleSpec& m) { m.copy_of = "conv"; }),
            "invariant 12: module 'conv' names a module to copy and is no copy");
  EXPECT_EQ(with([](ModuleSpec& m) { m.args = {Value::none()}; }),
            "invariant 12: module 'conv' has constructor arguments and is not constructed");
  EXPECT_EQ(with([](ModuleSpec& m) { m.path = "other"; }), "invariant 12: module 'other' is not found under its path");
  EXPECT_EQ(with([](ModuleSpec& m) {
              m.kind = ModuleKind::constructed;
              m.kwargs = {{"k", Value::node(0)}};
            }),
            "invariant 12: a constructor argument of module 'conv' uses a node");
}

TEST(Verifier, invariant_13_adopted_tensors_exist) {
  EXPECT_EQ(verdict("module m = T() adopt weight=w\noutput None"),
            "invariant 13: module 'm' adopts 'w', which is no tensor of the tree");
  EXPECT_EQ(verdict("module m = T() adopt weight=w, weight=w\nparameter w: float32[]\noutput None"),
            "invariant 13: module 'm' adopts 'weight' twice");
}

TEST(Verifier, invariant_14_scopes_and_sources_exist) {
  Graph g = small();
  g[1].scope = 5;
  EXPECT_EQ(verdict(g), "invariant 14: scope 5 does not exist: `%y = call_module conv(%x) in <no scope 5>`");
  g = small();
  g[1].scope = g.add_scope({"a", 0, 2});
  g.add_scope({"b", 0, 1});
  EXPECT_EQ(verdict(g), "invariant 14: the scope 'a' is not numbered after its parent");
  g = small();
  g[1].scope = g.add_scope({"a", 1, kRootScope});
  g[2].scope = g.add_scope({"a", 1, kRootScope});
  EXPECT_EQ(verdict(g), "invariant 14: there are two scopes 'a'#1");
  g = small();
  g[1].source = 3;
  EXPECT_EQ(verdict(g), "invariant 14: source 3 does not exist: `%y = call_module conv(%x)`");
}

TEST(Verifier, invariant_15_scopes_are_intervals) {
  EXPECT_EQ(verdict("%x = placeholder x\n%a = call_method f(%x) in a\n%b = call_method f(%x)\n"
                    "%c = call_method f(%x) in a\noutput %c"),
            "invariant 15: the scope 'a' was left before: `%c = call_method f(%x) in a`");
  EXPECT_EQ(verdict("%x = placeholder x\n%a = call_method f(%x) in a.0 of a\n%b = call_method f(%x) in b\n"
                    "%c = call_method f(%x) in a.1\noutput %c"),
            "invariant 15: the scope 'a' was left before: `%c = call_method f(%x) in a.1 of a`");
  EXPECT_EQ(verdict("%x = placeholder x\n%a = call_method f(%x) in a\n%b = call_method f(%x) in a.0\n"
                    "%c = call_method f(%x) in a\n%d = call_method f(%x) in a.1\noutput %c"),
            "accepted");
  EXPECT_EQ(verdict("%x = placeholder x in a\noutput %x"),
            "invariant 15: placeholders and the output are in the root scope: `%x = placeholder x in a`");
  EXPECT_EQ(verdict("%x = placeholder x\noutput %x in a"),
            "invariant 15: placeholders and the output are in the root scope: `output %x in a`");
}

TEST(Verifier, invariant_16_nesting_is_bounded) {
  Value deep = Value::none();
  for (int i = 0; i <= kMaxValueDepth; ++i) deep = Value::tuple({deep});
  Graph g = small();
  g[2].args.push_back(deep);
  EXPECT_TRUE(verdict(g).starts_with("invariant 16: a value nests more than 100 deep in `%z = ")) << verdict(g);
  g = small();
  g[2].args.push_back(deep.items()[0]);
  EXPECT_EQ(verdict(g), "accepted");
  EXPECT_EQ(print(parse(print(g))), print(g));
  g = small();
  for (int i = 0; i <= kMaxGraphDepth; ++i) {
    Graph outer = small();
    outer.modules.add({.path = "side", .kind = ModuleKind::graph, .graph = std::make_shared<const Graph>(g)});
    g = outer;
  }
  EXPECT_TRUE(verdict(g).starts_with("invariant 16: in graph module 'side': in graph module 'side': ")) << verdict(g);
  EXPECT_TRUE(verdict(g).ends_with("graph 'net' nests more than 50 deep"));
  const Graph inside = *g.modules.find("side")->graph;
  EXPECT_EQ(verdict(inside), "accepted");
  EXPECT_EQ(print(parse(print(inside))), print(inside));
}

TEST(Verifier, invariant_17_graph_modules_and_their_calls) {
  const auto call = [](const std::string& arguments) {
    return verdict(
        "module side = graph inner {\n"
        "%a = placeholder a positional_only\n%b = placeholder b default 1\n%k = placeholder k keyword_only\noutput "
        "%a\n}\n"
        "%y = call_module side(" +
        arguments + ")\noutput %y");
  };
  EXPECT_EQ(call("1, 2, k=3"), "accepted");
  EXPECT_EQ(call("1, b=2, k=3"), "accepted");
  EXPECT_EQ(call("1, k=3"), "accepted");
  EXPECT_EQ(call("k=3"),
            "invariant 17: the parameter 'a' of the graph module is not given: `%y = call_module side(k=3)`");
  EXPECT_EQ(call("1"), "invariant 17: the parameter 'k' of the graph module is not given: `%y = call_module side(1)`");
  EXPECT_EQ(call("1, 2, 3, k=4"),
            "invariant 17: the graph module takes 2 positional arguments: `%y = call_module side(1, 2, 3, k=4)`");
  EXPECT_EQ(call("1, 2, b=2, k=3"),
            "invariant 17: the parameter 'b' is given twice: `%y = call_module side(1, 2, b=2, k=3)`");
  EXPECT_EQ(call("1, k=3, a=1"),
            "invariant 17: the graph module has no parameter for every keyword: `%y = call_module side(1, k=3, a=1)`");
  EXPECT_EQ(verdict("module side = graph inner {\n%r = placeholder *r\n%kw = placeholder **kw\noutput %r\n}\n"
                    "%y = call_module side(1, 2, a=3)\noutput %y"),
            "accepted");
  EXPECT_EQ(verdict("module side = graph inner {\n%a = placeholder a\n}\noutput None"),
            "invariant 3: in graph module 'side': graph 'inner' does not end in an output node");
}

TEST(Verifier, ends_of_blocks_alone_use_their_begin) {
  EXPECT_EQ(verdict("%x = placeholder x\n%b = call_function modulize.blocks.begin('f', (), %x)\n"
                    "%y = call_function torch.relu(%b)\noutput %y"),
            "invariant 20: `%y = call_function torch.relu(%b)` uses the begin of a block and is not its end");
}

}  // namespace
}  // namespace modulize
