#include "explore/merge.h"

#include <gtest/gtest.h>

#include <random>

#include "explore/align.h"
#include "explore/compare.h"
#include "explore/linearise.h"
#include "ir/control.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"

namespace modulize {
namespace {

std::string net(const std::string& body) {
  return "graph net {\n  %x: tensor = placeholder x\n  %t: tensor = call_method sum(%x)\n"
         "  %d: number = call_function modulize._runtime.truth(%t)\n" +
         body + "}\n";
}

Variant flipped(const Graph& graph, NodeId decision, bool first_is_true) {
  return {&graph, [=](NodeId, NodeId) { return Condition{decision, "", first_is_true}; }};
}

// Without what only the merge has, so that a linearised graph compares with a captured one.
std::optional<Difference> differs(const Graph& a, const Graph& b) {
  return first_difference(a, b, [](ObjectId x, ObjectId y) { return x == y; });
}

/// Merges the two sides of the decision %d, verifies, and checks that either outcome gives its capture back.
std::string merged(const std::string& on_true, const std::string& on_false) {
  const Graph a = parse(net(on_true)), b = parse(net(on_false));
  const NodeId d = find_node(a, "d");
  std::string why;
  const std::optional<Merged> out = merge(a, {flipped(b, d, true)}, {}, &why);
  if (!out) return why;
  verify(out->graph);
  const NodeId decision = out->of_first.at(d);
  const auto first = differs(linearise(out->graph, {{decision, true}}), a);
  EXPECT_FALSE(first) << first->what << "\n" << print(out->graph);
  const auto second = differs(linearise(out->graph, {{decision, false}}), b);
  EXPECT_FALSE(second) << second->what << "\n" << print(out->graph);
  Graph lean = out->graph;
  find_pass("dead_code")->run(lean, {});
  verify(lean);
  return print(lean);
}

TEST(Merge, ADecisionThatChangesNothingGoes) {
  const std::string body = "  %y: tensor = call_method relu(%x)\n  output %y\n";
  EXPECT_EQ(merged(body, body), "graph net {\n  %x: tensor = placeholder x\n" + body + "}\n");
}

TEST(Merge, AStretchOfOneSideBecomesABranch) {
  EXPECT_EQ(merged("  %y: tensor = call_method relu(%x)\n  %z: tensor = call_method neg(%y)\n  output %z\n",
                   "  %z: tensor = call_method neg(%x)\n  output %z\n"),
            net("  %begin_if: other = call_function modulize.control.begin_if(%d)\n"
                "  %y: tensor = call_method relu(%x)\n"
                "  %begin_else: other = call_function modulize.control.begin_else(%begin_if)\n"
                "  %end_if: other = call_function modulize.control.end_if(%begin_else, (%y,), (%x,))\n"
                "  %y_1: tensor = call_function operator.getitem(%end_if, 0)\n"
                "  %z: tensor = call_method neg(%y_1)\n  output %z\n"));
}

TEST(Merge, AnArgumentBecomesASelection) {
  const std::string text = merged("  %z: tensor = call_method neg(%x, None)\n  output %z\n",
                                  "  %z: tensor = call_method neg(%x, True)\n  output %z\n");
  EXPECT_NE(text.find("select(%d, None, True)"), std::string::npos) << text;
}

TEST(Merge, BothSidesDiffer) {
  merged("  %y: tensor = call_method relu(%x)\n  %z: tensor = call_method neg(%y)\n  output (%z, %y)\n",
         "  %v: tensor = call_method exp(%x)\n  %w: tensor = call_method log(%v)\n  %z: tensor = call_method neg(%v)\n"
         "  output (%z, %w)\n");
}

TEST(Merge, AnEarlyExit) {
  merged("  output %x\n", "  %y: tensor = call_method relu(%x)\n  %z: tensor = call_method neg(%y)\n  output %z\n");
}

TEST(Merge, TwoDecisionsNest) {
  const std::string head =
      "graph net {\n  %x: tensor = placeholder x\n  %d: number = call_function modulize._runtime.truth(%x)\n";
  const Graph both =
      parse(head +
            "  %a: tensor = call_method relu(%x)\n  %e: number = call_function "
            "modulize._runtime.truth(%a)\n  %b: tensor = call_method exp(%a)\n  %c: tensor = call_method "
            "tanh(%b)\n  output %c\n}\n");
  const Graph not_e = parse(head +
                            "  %a: tensor = call_method relu(%x)\n  %e: number = call_function "
                            "modulize._runtime.truth(%a)\n  %c: tensor = call_method tanh(%a)\n  output %c\n}\n");
  const Graph not_d = parse(head + "  %c: tensor = call_method tanh(%x)\n  output %c\n}\n");
  const NodeId d = find_node(both, "d"), e = find_node(both, "e");
  const auto out = merge(both, {flipped(not_d, d, true), flipped(not_e, e, true)}, {}, nullptr);
  ASSERT_TRUE(out);
  verify(out->graph);
  const NodeId dm = out->of_first.at(d), em = out->of_first.at(e);
  EXPECT_FALSE(differs(linearise(out->graph, {{dm, true}, {em, true}}), both)) << print(out->graph);
  EXPECT_FALSE(differs(linearise(out->graph, {{dm, true}, {em, false}}), not_e)) << print(out->graph);
  EXPECT_FALSE(differs(linearise(out->graph, {{dm, false}, {em, true}}), not_d)) << print(out->graph);
}

TEST(Merge, ARequirementStandsBehindItsDecision) {
  const Graph a = parse(net("  output %x\n"));
  const auto out = merge(a, {}, {{find_node(a, "d"), true, Value::string("error")}}, nullptr);
  ASSERT_TRUE(out);
  EXPECT_NE(print(out->graph).find("require(%d, True, 'error')"), std::string::npos) << print(out->graph);
}

// Random programs under k decisions that do not know of each other.
TEST(Merge, RandomSidesComeBack) {
  std::mt19937 random(7);
  const char* const ops[] = {"relu", "neg", "exp", "tanh", "abs"};
  for (int round = 0; round < 400; ++round) {
    const std::uint32_t seed = random();
    // Each step is taken always, or under one outcome of one decision. Values flow through variables as in Python.
    const auto build = [&](bool first, bool second) {
      std::mt19937 r(seed);
      std::string text = "graph net {\n  %x: tensor = placeholder x\n";
      std::vector<std::string> variables{"x", "x", "x"};
      int made = 0;
      bool decided[2] = {false, false};
      for (int step = 0; step < 24; ++step) {
        const std::uint32_t kind = r() % 8, where = r() % 3, from = r() % 3, op = r() % 5, side = r() % 2, line = r();
        const bool outcome[2] = {first, second};
        if (step == 3 || step == 9) {
          const int k = step == 3 ? 0 : 1;
          text +=
              "  %d" + std::to_string(k) + ": number = call_function modulize._runtime.truth(%" + variables[0] + ")\n";
          decided[k] = true;
          continue;
        }
        if (kind < 4) {
          const int k = kind % 2;
          if (!decided[k] || outcome[k] != (side == 1)) continue;
        }
        (void)line;
        const std::string name = "v" + std::to_string(made++);
        text += "  %" + name + ": tensor = call_method " + ops[op] + "(%" + variables[from] + ", " +
                std::to_string(kind == 7 && decided[0] ? (first ? 1 : 2) : 0) +
                ") at \"a.py\":" + std::to_string(step + 1) + "\n";
        variables[where] = name;
      }
      text += "  output (%" + variables[0] + ", %" + variables[1] + ", %" + variables[2] + ")\n}\n";
      return parse(text);
    };
    const Graph base = build(true, true), not_first = build(false, true), not_second = build(true, false);
    const NodeId d0 = find_node(base, "d0"), d1 = find_node(base, "d1");
    std::string why;
    const auto out = merge(base, {flipped(not_first, d0, true), flipped(not_second, d1, true)}, {}, &why);
    if (!out) {
      EXPECT_EQ(why, "what two decisions change overlaps");
      continue;
    }
    verify(out->graph);
    const NodeId m0 = out->of_first.at(d0), m1 = out->of_first.at(d1);
    const auto check = [&](bool a, bool b, const Graph& expected) {
      const auto found = differs(linearise(out->graph, {{m0, a}, {m1, b}}), expected);
      ASSERT_FALSE(found) << "round " << round << ": " << found->what << "\n" << print(out->graph) << print(expected);
    };
    check(true, true, base);
    check(false, true, not_first);
    check(true, false, not_second);
  }
}

TEST(Align, PairsTheLongestCommonPart) {
  const Graph a = parse(net("  %y = call_method relu(%x)\n  %z = call_method neg(%y)\n  output %z\n"));
  const Graph b = parse(net("  %z = call_method neg(%x)\n  %y = call_method relu(%z)\n  output %y\n"));
  const auto found = align(a, b);
  ASSERT_TRUE(found);
  std::size_t pairs = 0;
  for (const std::int32_t partner : found->partner_of_first) pairs += partner >= 0;
  EXPECT_EQ(pairs, 5u);  // placeholder, sum, truth, one of the two, output
  EXPECT_FALSE(align(a, b, 1));
}

// if a: x = x + 1; if b: x = x * 2
TEST(Merge, AChainIsExactForBothTogether) {
  const auto chain = [](bool a, bool b) {
    const std::string first = a ? "%add" : "%x", second = b ? "%mul" : first;
    return parse(
        "graph net {\n  %x: tensor = placeholder x\n  %s: tensor = call_method sum(%x)\n"
        "  %d: number = call_function modulize._runtime.truth(%s)\n" +
        std::string(a ? "  %add: tensor = call_method add(%x, 1)\n" : "") + "  %m: tensor = call_method mean(" + first +
        ")\n  %e: number = call_function modulize._runtime.truth(%m)\n" +
        (b ? "  %mul: tensor = call_method mul(" + first + ", 2)\n" : "") + "  output " + second + "\n}\n");
  };
  const Graph base = chain(true, true), without_a = chain(false, true), without_b = chain(true, false);
  std::string why;
  const auto out = merge(
      base, {flipped(without_a, find_node(base, "d"), true), flipped(without_b, find_node(base, "e"), true)}, {}, &why);
  ASSERT_TRUE(out) << why;
  const NodeId d = out->of_first.at(find_node(base, "d")), e = out->of_first.at(find_node(base, "e"));
  for (const bool a : {true, false})
    for (const bool b : {true, false}) {
      const auto found = differs(linearise(out->graph, {{d, a}, {e, b}}), chain(a, b));
      EXPECT_FALSE(found) << found->what << "\n" << print(out->graph);
    }
}

}  // namespace
}  // namespace modulize
