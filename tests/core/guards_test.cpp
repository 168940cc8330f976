#include "explore/guards.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"

namespace modulize {
namespace {

TEST(Guards, LeaksThatAreLeftBecomeChecks) {
  Graph graph = parse(
      "graph net {\n"
      "  %x: tensor = placeholder x\n"
      "  %n: number = call_method size(%x, 0)\n"
      "  %leak = call_function modulize._runtime.leak(%n, 3, 'a size')\n"
      "  %leak_1 = call_function modulize._runtime.leak(%x, @1:'<structure>', 'an object')\n"
      "  output %x\n"
      "}\n");
  check_leaks(graph);
  EXPECT_EQ(print(graph),
            "graph net {\n"
            "  %x: tensor = placeholder x\n"
            "  %n: number = call_method size(%x, 0)\n"
            "  %leak = call_function modulize._runtime.check(%n, 3, 'a size')\n"
            "  %leak_1 = call_function modulize._runtime.check_structure(%x, @1:\"<structure>\", 'an object')\n"
            "  output %x\n"
            "}\n");
}

TEST(Guards, TheModesAreCheckedOnceEachBehindTheInputs) {
  Graph graph = parse(
      "graph net {\n"
      "  module layer = existing net.Layer\n"
      "  %x: tensor = placeholder x\n"
      "  %y: tensor = call_method relu(%x)\n"
      "  output %y\n"
      "}\n");
  add_mode_checks(graph,
                  {{"training", true, "net.py:7"}, {"layer.training", false, ""}, {"training", true, "net.py:9"}});
  verify(graph);
  EXPECT_EQ(print(graph),
            "graph net {\n"
            "  module layer = existing net.Layer\n"
            "  %x: tensor = placeholder x\n"
            "  %training: number = get_attr training\n"
            "  %check: other = call_function modulize._runtime.check(%training, True, "
            "'the mode (train or eval) of the model, by which forward decides', 'net.py:7')\n"
            "  %layer_training: number = get_attr layer.training\n"
            "  %check_1: other = call_function modulize._runtime.check(%layer_training, False, "
            "\"the mode (train or eval) of module 'layer', by which forward decides\")\n"
            "  %y: tensor = call_method relu(%x)\n"
            "  output %y\n"
            "}\n");
}

TEST(Guards, TheFlagThatWasReadLastDecides) {
  const std::string head = "graph net {\n  %x: tensor = placeholder x\n";
  const Graph two =
      parse(head +
            "  %a: number = get_attr training\n  %r: tensor = call_method relu(%x)\n"
            "  %b: number = get_attr layer.training\n  %s: tensor = call_method exp(%r)\n  output %s\n}\n");
  const Graph none = parse(head + "  %s: tensor = call_method exp(%x)\n  output %s\n}\n");
  const std::map<std::string, bool> flags{{"first.training", true}, {"layer.training", false}, {"training", true}};
  const auto condition = [&](const Graph& first, std::string_view a, const Graph& other, std::string_view b) {
    const Condition found = mode_condition(first, find_node(first, a), other, find_node(other, b), flags);
    EXPECT_EQ(found.decision, kNoNode);
    return std::pair(found.flag, found.first_is_true);
  };
  EXPECT_EQ(condition(two, "s", none, "s"), std::pair(std::string("layer.training"), false));
  EXPECT_EQ(condition(two, "r", none, "s"), std::pair(std::string("training"), true));
  EXPECT_EQ(condition(none, "s", two, "s"), std::pair(std::string("layer.training"), false));  // the other side read it
  EXPECT_EQ(condition(none, "s", none, "s"), std::pair(std::string("first.training"), true));  // nobody did
}

constexpr const char* kLists =
    "graph net {\n"
    "  %opened: other = placeholder opened\n"
    "  %whole: other = placeholder whole\n"
    "  %holder: other = placeholder holder\n"
    "  %n: number = call_function builtins.len(%opened)\n"
    "  %c1 = call_function modulize._runtime.check(%n, 2, 'opened')\n"
    "  %m: number = call_function modulize._runtime.length(%whole, 'list', 'whole')\n"
    "  %c2 = call_function modulize._runtime.check(%m, 2, 'whole')\n"
    "  %c3 = call_function modulize._runtime.check_structure(%whole, @1:'<structure>', 'whole')\n"
    "  %c4 = call_function modulize._runtime.leak(%holder, @2:'<structure>', 'holder')\n"
    "  %c5 = call_function modulize._runtime.check(%whole, 3, 'no length')\n"
    "  %i: tensor = call_function operator.getitem(%opened, 0)\n"
    "  %items: other = call_function builtins.getattr(%holder, 'items')\n"
    "  %j: tensor = call_function operator.getitem(%items, 1)\n"
    "  %k: tensor = call_function operator.getitem(%whole, 'key')\n"
    "  output (%i, %j, %k)\n"
    "}\n";

TEST(Guards, WhatIsTakenApartByAPositionIsOpened) {
  EXPECT_EQ(opened_lists(parse(kLists)), (std::set<std::string>{"opened", "items", "holder"}));
}

TEST(Guards, ALengthSaysNothingWhereNobodyTakesAnItemByItsPosition) {
  const Graph graph = parse(kLists);
  bool others = false;
  EXPECT_EQ(length_checks(graph, graph, {"c2", "c3"}, &others), (std::set<std::string>{"c2", "c3"}));
  EXPECT_FALSE(others);
  EXPECT_EQ(length_checks(graph, graph, {"c3"}), (std::set<std::string>{"c3"}));  // only what is harmless
  for (const char* held : {"c1", "c4", "c5"}) {
    others = false;
    EXPECT_EQ(length_checks(graph, graph, {held, "c2"}, &others), (std::set<std::string>{"c2"})) << held;
    EXPECT_TRUE(others) << held;
  }
}

TEST(Guards, ItemsThatOnlyDeadCodeTakesDoNotOpenAList) {
  const Graph lean = parse(
      "graph net {\n  %opened: other = placeholder opened\n  %whole: other = placeholder whole\n"
      "  %holder: other = placeholder holder\n  output %whole\n}\n");
  EXPECT_EQ(length_checks(parse(kLists), lean, {"c1", "c4"}), (std::set<std::string>{"c1", "c4"}));
}

}  // namespace
}  // namespace modulize
