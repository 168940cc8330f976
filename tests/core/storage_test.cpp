// Which in-place writes somebody else can see.
#include "ops/storage.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "ops/value_types.h"

namespace modulize {
namespace {

// Names of the in-place nodes (those called w...) whose storage is read elsewhere.
std::string read_elsewhere(std::string_view body) {
  const Graph graph = parse(
      "graph net {\n"
      "  module conv = existing torch.nn.Conv2d\n"
      "  module bn = existing torch.nn.BatchNorm2d\n"
      "  module drop = existing torch.nn.Dropout\n"
      "  module mine = existing net.Mine\n"
      "  module relu = torch.nn.ReLU() for relu\n"
      "  module relu_in_place = torch.nn.ReLU(inplace=True) for relu\n"
      "  module twin = copy conv for conv\n"
      "  parameter p: float32[3]\n"
      "  %x = placeholder x\n"
      "  %y = call_module conv(%x)\n" +
      std::string(body) + "}\n");
  const std::vector<bool> is_read = written_storage_is_read(graph, value_types(graph));
  std::string out;
  for (const NodeId id : graph.order())
    if (is_read[id] && graph[id].name.starts_with("w")) out += (out.empty() ? "" : " ") + graph[id].name;
  return out;
}

TEST(Storage, nobody_reads_afterwards) {
  EXPECT_EQ(read_elsewhere("  %w = call_method add_(%y, %x)\n  output %w\n"), "");
  EXPECT_EQ(read_elsewhere("  %a = call_method relu(%y)\n  %w = call_method add_(%y, 1)\n  output (%w, %a)\n"), "");
}

TEST(Storage, the_name_is_read_afterwards) {
  EXPECT_EQ(read_elsewhere("  %w = call_method add_(%y, 1)\n  output %y\n"), "w");
  EXPECT_EQ(read_elsewhere("  %w = call_function operator.iadd(%y, 1)\n  %a = call_method relu(%y)\n  output %a\n"),
            "w");
}

TEST(Storage, inputs_parameters_and_unknown_results_live_on) {
  EXPECT_EQ(read_elsewhere("  %w = call_method add_(%x, 1)\n  output %w\n"), "w");
  EXPECT_EQ(read_elsewhere("  %v = call_method view(%x, -1)\n  %w = call_method add_(%v, 1)\n  output %w\n"), "w");
  EXPECT_EQ(read_elsewhere("  %p = get_attr p\n  %w = call_method add_(%p, 1)\n  output %w\n"), "w");
  EXPECT_EQ(read_elsewhere("  %m = call_module mine(%y)\n  %w = call_method add_(%m, 1)\n  output %w\n"), "w");
  EXPECT_EQ(read_elsewhere("  %m = call_function mylib.f(%y)\n  %w = call_method add_(%m, 1)\n  output %w\n"), "w");
}

TEST(Storage, views_share) {
  EXPECT_EQ(read_elsewhere("  %v = call_method view(%y, -1)\n  %w = call_method add_(%y, 1)\n  output (%w, %v)\n"),
            "w");
  EXPECT_EQ(read_elsewhere("  %c = call_method chunk(%y, 2)\n  %a = call_function operator.getitem(%c, 0)\n"
                           "  %w = call_method add_(%a, 1)\n  output (%w, %c)\n"),
            "w");
  EXPECT_EQ(read_elsewhere("  %v = call_method clone(%y)\n  %w = call_method add_(%y, 1)\n  output (%w, %v)\n"), "");
}

TEST(Storage, views_of_the_result_do_not_count) {
  EXPECT_EQ(read_elsewhere("  %w = call_method add_(%y, 1)\n  %v = call_method view(%w, -1)\n"
                           "  %w2 = call_method mul_(%v, 2)\n  output %w2\n"),
            "");
  EXPECT_EQ(read_elsewhere("  %w = call_method add_(%y, 1)\n  %v = call_method view(%w, -1)\n"
                           "  %w2 = call_method mul_(%v, 2)\n  output %w\n"),
            "w2");
}

TEST(Storage, shared_numbers_share_nothing) {
  EXPECT_EQ(read_elsewhere("  %n = call_method size(%x, 0)\n  %a = call_method relu(%y)\n"
                           "  %v = call_method view(%y, %n, -1)\n  %u = call_method view(%a, %n, -1)\n"
                           "  %w = call_method add_(%v, 1)\n  output (%w, %u)\n"),
            "");
}

TEST(Storage, modules_that_may_hand_their_input_through) {
  const std::string rest = "  %w = call_method add_(%m, 1)\n  output (%w, %y)\n";
  EXPECT_EQ(read_elsewhere("  %m = call_module drop(%y)\n" + rest), "w");
  EXPECT_EQ(read_elsewhere("  %m = call_module relu_in_place(%y)\n" + rest), "w");
  EXPECT_EQ(read_elsewhere("  %m = call_module relu(%y)\n" + rest), "");
  EXPECT_EQ(read_elsewhere("  %m = call_module bn(%y)\n" + rest), "");
  EXPECT_EQ(read_elsewhere("  %m = call_module twin(%y)\n" + rest), "");
}

TEST(Storage, what_is_asked_of_a_tensor_shares_nothing) {
  const std::string rest = "  %w = call_method add_(%y, 1)\n  %z = call_method to(%w, %d)\n  output %z\n";
  EXPECT_EQ(read_elsewhere("  %d: other = call_function builtins.getattr(%y, \"dtype\")\n" + rest), "");
  EXPECT_EQ(read_elsewhere("  %d: tensor = call_function builtins.getattr(%y, \"T\")\n" + rest), "w");
  EXPECT_EQ(read_elsewhere("  %d: other = call_function builtins.getattr(%y, \"mine\")\n" + rest), "w");
}

TEST(Storage, our_own_functions) {
  const std::string write = "  %w = call_method add_(%m, 1)\n";
  const std::string select = "  %m: tensor = call_function modulize._runtime.select(%x, %y, 1)\n";
  EXPECT_EQ(read_elsewhere("  %c = call_method clone(%y)\n  %m: tensor = call_function modulize._runtime.select(True, "
                           "%c, 1)\n" +
                           write + "  output %w\n"),
            "");
  EXPECT_EQ(read_elsewhere(select + write + "  output (%w, %y)\n"), "w");
  EXPECT_EQ(read_elsewhere("  %m = call_method clone(%y)\n  %h: other = call_function modulize._runtime.hand_out(%x, "
                           "\"a\", %m)\n" +
                           write + "  output %w\n"),
            "w");
  EXPECT_EQ(read_elsewhere("  %m = call_method clone(%y)\n  %o: other = call_function modulize._runtime.rebuild(net.C, "
                           "None, None, a=%m)\n" +
                           write + "  output (%w, %o)\n"),
            "w");
  EXPECT_EQ(
      read_elsewhere("  %m = call_method clone(%y)\n  %o: other = call_function modulize._runtime.check_structure("
                     "%m, 1, \"m\")\n" +
                     write + "  output %w\n"),
      "");
}

TEST(Storage, functions_with_an_in_place_flag) {
  const std::string rest = "  %w = call_method add_(%m, 1)\n  output (%w, %y)\n";
  EXPECT_EQ(read_elsewhere("  %m = call_function torch.nn.functional.relu(%y, True)\n" + rest), "w");
  EXPECT_EQ(read_elsewhere("  %m = call_function torch.nn.functional.relu(%y, inplace=False)\n" + rest), "");
  EXPECT_EQ(read_elsewhere("  %m = call_method relu_(%y)\n" + rest), "w");
  EXPECT_EQ(read_elsewhere("  %m = call_function torch.einsum(\"ij->ji\", %y)\n" + rest), "w");
}

}  // namespace
}  // namespace modulize
