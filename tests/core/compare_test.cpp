#include "explore/compare.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "ir/printer.h"

namespace modulize {
namespace {

std::optional<Difference> compare(const char* first, const char* second) {
  return first_difference(parse(first), parse(second), [](ObjectId a, ObjectId b) { return a == b; });
}

constexpr const char* kView =
    "graph net {\n  %x: tensor = placeholder x\n  %view: tensor = call_method view(%x, 3, -1)\n  output %view\n}\n";

TEST(Compare, EqualGraphsDoNotDiffer) { EXPECT_FALSE(compare(kView, kView)); }

TEST(Compare, NamesDoNotCount) {
  EXPECT_FALSE(compare(kView,
                       "graph net {\n  %a: tensor = placeholder x\n  %b: tensor = call_method view(%a, 3, -1)\n"
                       "  output %b\n}\n"));
}

TEST(Compare, AFrozenSizeIsFound) {
  const auto found =
      compare(kView,
              "graph net {\n  %x: tensor = placeholder x\n  %view: tensor = call_method view(%x, 4, -1)\n"
              "  output %view\n}\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->node, 1u);
  EXPECT_EQ(found->what, "argument 1 of Tensor.view was 3 and became 4");
}

TEST(Compare, ALoopOverASizeIsFound) {
  const auto found = compare(
      "graph net {\n  %x: tensor = placeholder x\n  %a: tensor = call_function torch.relu(%x)\n  output %a\n}\n",
      "graph net {\n  %x: tensor = placeholder x\n  %a: tensor = call_function torch.relu(%x)\n"
      "  %b: tensor = call_function torch.relu(%a)\n  output %b\n}\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->what, "output became torch.relu");
}

TEST(Compare, AnotherOperandIsFound) {
  const auto found = compare(
      "graph net {\n  %x = placeholder x\n  %a = call_method relu(%x)\n  %b = call_method add(%x, %a)\n  output "
      "%b\n}\n",
      "graph net {\n  %x = placeholder x\n  %a = call_method relu(%x)\n  %b = call_method add(%a, %x)\n  output "
      "%b\n}\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->what, "argument 0 of Tensor.add was %x and became %a");
}

TEST(Compare, WhatACheckGuardsMayDiffer) {
  EXPECT_FALSE(compare(
      "graph net {\n  %x = placeholder x\n  %n = call_method size(%x, 0)\n  %c = call_function operator.gt(%n, 3)\n"
      "  %k = call_function modulize._runtime.check(%c, True, 'here')\n  output %x\n}\n",
      "graph net {\n  %x = placeholder x\n  %n = call_method size(%x, 0)\n  %c = call_function operator.gt(%n, 3)\n"
      "  %k = call_function modulize._runtime.check(%c, False, 'here')\n  %r = call_method relu(%x)\n  output "
      "%r\n}\n"));
}

constexpr const char* kDecision =
    "graph net {\n  %x: tensor = placeholder x\n  %unread: tensor = call_method relu(%x)\n"
    "  %sum: tensor = call_method sum(%x)\n  %truth: number = call_function modulize._runtime.truth(%sum)\n"
    "  output %x\n}\n";

TEST(Compare, WhatFeedsAConditionCounts) {
  EXPECT_EQ(print(without_unread(parse(kDecision), {})),
            "graph net {\n  %x: tensor = placeholder x\n  %sum: tensor = call_method sum(%x)\n"
            "  %truth: number = call_function modulize._runtime.truth(%sum)\n  output %x\n}\n");
}

TEST(Compare, WhatFeedsAnIdleDecisionDoesNot) {
  const Graph graph = parse(kDecision);
  EXPECT_EQ(print(without_unread(graph, {graph[graph.last()].prev})),
            "graph net {\n  %x: tensor = placeholder x\n  output %x\n}\n");
}

}  // namespace
}  // namespace modulize
