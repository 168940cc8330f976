#include "explore/paths.h"

#include <gtest/gtest.h>

#include "explore/compare.h"
#include "explore/linearise.h"
#include "ir/control.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"

namespace modulize {
namespace {

/// A capture in which `%wide` and `%high` came out so; `body` follows what they decide, and `leak` stands before.
Graph capture(bool wide, bool high, const std::string& body, const std::string& leak = "") {
  const auto check = [](const std::string& name, const std::string& of, bool is) {
    return "  %" + name + ": other = call_function modulize._runtime.check(%" + of + ", " + (is ? "True" : "False") +
           ", \"a decision on sizes\")\n";
  };
  return parse("graph net {\n  %x: tensor = placeholder x\n  %w: number = call_method size(%x, 3)\n" + leak +
               "  %is_wide: number = call_function operator.gt(%w, 8)\n" + check("wide", "is_wide", wide) +
               (wide ? ""
                     : "  %h: number = call_method size(%x, 2)\n"
                       "  %is_high: number = call_function operator.gt(%h, 8)\n" +
                           check("high", "is_high", high)) +
               body + "  output %y\n}\n");
}

const char* const kHalved = "  %y: tensor = call_method div(%x, 2)\n";
const char* const kSame = "  %y: tensor = call_method relu(%x)\n";
const char* const kDoubled = "  %y: tensor = call_method mul(%x, 2)\n";
const char* const kLeak =
    "  %leak: other = call_function modulize._runtime.leak(%w, 4, \"a size that Python uses as a bound of range()\")\n";

std::string taken(const Graph& merged, const std::map<std::string, bool>& outcomes) {
  std::unordered_map<NodeId, bool> by_node;
  for (const auto& [name, outcome] : outcomes) by_node[find_node(merged, name)] = outcome;
  return print(linearise(merged, by_node));
}

TEST(SizePaths, EveryCheckThatCameOutOtherwiseIsABranch) {
  const Graph first = capture(false, false, kSame), wide = capture(true, false, kHalved),
              high = capture(false, true, kDoubled);
  std::string why;
  const std::optional<Graph> merged = merge_paths(first,
                                                  {{&wide, find_node(first, "wide"), find_node(wide, "wide")},
                                                   {&high, find_node(first, "high"), find_node(high, "high")}},
                                                  &why);
  ASSERT_TRUE(merged) << why;
  verify(*merged);
  EXPECT_EQ(print(*merged).find("runtime.check"), std::string::npos) << print(*merged);
  EXPECT_NE(taken(*merged, {{"wide", false}, {"high", false}}).find("relu"), std::string::npos);
  EXPECT_NE(taken(*merged, {{"wide", true}, {"high", false}}).find("div"), std::string::npos);
  EXPECT_NE(taken(*merged, {{"wide", false}, {"high", true}}).find("mul"), std::string::npos);
}

TEST(SizePaths, WhatNoCaptureHasShownStaysACheck) {
  const Graph first = capture(false, false, kSame), wide = capture(true, false, kHalved);
  std::string why;
  const std::optional<Graph> merged =
      merge_paths(first, {{&wide, find_node(first, "wide"), find_node(wide, "wide")}}, &why);
  ASSERT_TRUE(merged) << why;
  const std::string narrow = taken(*merged, {{"wide", false}});
  EXPECT_NE(narrow.find("check(%is_high, False"), std::string::npos) << narrow;
}

TEST(SizePaths, ALeakMattersOnItsOwnPathAlone) {
  const Graph first = capture(false, false, kSame, kLeak), wide = capture(true, false, kHalved);
  std::string why;
  const std::optional<Graph> merged =
      merge_paths(first, {{&wide, find_node(first, "wide"), find_node(wide, "wide")}}, &why);
  ASSERT_TRUE(merged) << why;
  verify(*merged);
  EXPECT_NE(taken(*merged, {{"wide", false}}).find("leak"), std::string::npos);
  EXPECT_EQ(taken(*merged, {{"wide", true}}).find("leak"), std::string::npos) << print(*merged);
}

TEST(SizePaths, APathThatDiffersBeforeItsCheckIsNone) {
  const Graph first = capture(false, false, kSame), high = capture(true, true, kDoubled);
  std::string why;
  EXPECT_FALSE(merge_paths(first, {{&high, find_node(first, "high"), find_node(high, "wide")}}, &why));
  EXPECT_NE(why, "");
}

TEST(SizePaths, OnlyTruthsDecide) {
  const Graph graph = parse(
      "graph net {\n  %x: tensor = placeholder x\n  %n: number = call_method size(%x, 0)\n"
      "  %length: other = call_function modulize._runtime.check(%n, 2, \"the length of argument 'x'\")\n"
      "  %is_two: number = call_function operator.eq(%n, 2)\n"
      "  %two: other = call_function modulize._runtime.check(%is_two, True, \"a decision on sizes\")\n"
      "  output %x\n}\n");
  EXPECT_FALSE(is_size_decision(graph[find_node(graph, "length")]));
  EXPECT_FALSE(is_size_decision(graph[find_node(graph, "is_two")]));
  EXPECT_TRUE(is_size_decision(graph[find_node(graph, "two")]));
}

}  // namespace
}  // namespace modulize
