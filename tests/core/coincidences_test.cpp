#include "explore/coincidences.h"

#include <gtest/gtest.h>

#include "explore/guards.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"

namespace modulize {
namespace {

Numbers numbers(const Graph& graph, const std::vector<std::pair<const char*, std::vector<std::int64_t>>>& given) {
  Numbers out;
  for (const auto& [name, all] : given) out[find_node(graph, name)] = all;
  return out;
}

std::string left(const Coincidences& numbers, const Graph& graph) {
  std::string out;
  for (const Coincidence& number : numbers.left(graph))
    out += graph[number.node].name + (number.is_size ? "[0]" : "") + "=" + std::to_string(number.number) +
           (number.is_by_values ? " by values" : "") + ";";
  return out;
}

constexpr const char* kRemainder =
    "graph net {\n"
    "  %x: tensor = placeholder x\n"
    "  %n: number = call_function builtins.len(%x)\n"
    "  %rest: number = call_function operator.mod(%n, 3)\n"
    "  output %x\n"
    "}\n";

TEST(Coincidences, ARemainderThatIsAlike) {
  const Graph graph = parse(kRemainder);
  Coincidences found(graph, numbers(graph, {{"n", {4}}, {"rest", {1}}}));
  EXPECT_EQ(left(found, graph), "");  // nothing was another one yet
  found.compare(graph, graph, numbers(graph, {{"n", {7}}, {"rest", {1}}}));
  EXPECT_EQ(left(found, graph), "rest=1;");
  found.compare(graph, graph, numbers(graph, {{"n", {5}}, {"rest", {2}}}));
  EXPECT_EQ(left(found, graph), "");
}

TEST(Coincidences, WhatANodeReadsIsComparedThere) {
  const Graph graph = parse(
      "graph net {\n"
      "  %x: tensor = placeholder x\n"
      "  %n: number = call_function builtins.len(%x)\n"
      "  %rest: number = call_function operator.mod(%n, 3)\n"
      "  %y: tensor = call_method add(%x, %rest)\n"
      "  output %y\n"
      "}\n");
  Coincidences found(graph, numbers(graph, {{"n", {4}}, {"rest", {1}}}));
  found.compare(graph, graph, numbers(graph, {{"n", {7}}, {"rest", {1}}}));
  EXPECT_EQ(left(found, graph), "");
}

TEST(Coincidences, HowManyWereFound) {
  const Graph graph = parse(
      "graph net {\n"
      "  %x: tensor = placeholder x\n"
      "  %found = call_method nonzero(%x)\n"
      "  %shape: size = call_function builtins.getattr(%found, 'shape')\n"
      "  %width: number = call_function operator.getitem(%shape, 1)\n"
      "  %y: tensor = call_method add(%x, %width)\n"
      "  output %y\n"
      "}\n");
  Coincidences found(graph, numbers(graph, {{"shape", {3, 2}}}));
  EXPECT_EQ(left(found, graph), "shape[0]=3 by values;");
  found.compare(graph, graph, numbers(graph, {{"shape", {4, 2}}}));
  EXPECT_EQ(left(found, graph), "");
}

TEST(Coincidences, AnAssumptionStandsBehindTheNumber) {
  Graph graph = parse(kRemainder);
  check_number(graph, {find_node(graph, "rest"), false, 1, false}, "a remainder");
  verify(graph);
  EXPECT_NE(print(graph).find("modulize._runtime.check(%rest, 1, 'a remainder')"), std::string::npos) << print(graph);
}

}  // namespace
}  // namespace modulize
