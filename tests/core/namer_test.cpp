// The default rule of names, on the examples that the documentation gives.
#include "ir/namer.h"

#include <gtest/gtest.h>

#include "ir/parser.h"

namespace modulize {
namespace {

// The path that each call of a module or function gets by the rule: its own for a child's first call.
std::vector<std::string> paths(const std::string& text) {
  Graph graph = parse(text);
  const auto base_of = [](const Node& node) -> std::string_view {
    return std::string_view(node.target).substr(node.target.rfind('.') + 1);
  };
  const std::vector<std::uint32_t> numbers = call_numbers(graph, base_of);
  std::vector<std::string> out;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op == Opcode::call_module && numbers[id] == 0) {
      out.push_back(node.target);
    } else if (node.op == Opcode::call_module) {
      const auto [parent, child] = split_path(node.target);
      out.push_back(new_module_path(graph.modules, parent, child, numbers[id]));
      graph.modules.add({.path = out.back(), .type = "new"});
    } else if (node.op == Opcode::call_function) {
      out.push_back(new_module_path(graph.modules, graph.scope(node.scope).path, base_of(node), numbers[id]));
      graph.modules.add({.path = out.back(), .type = "new"});
    }
  }
  return out;
}

using Paths = std::vector<std::string>;

TEST(Namer, three_functional_relus_at_the_root) {
  EXPECT_EQ(paths("graph net {\n"
                  "  %x = placeholder x\n"
                  "  %a = call_function torch.nn.functional.relu(%x)\n"
                  "  %b = call_function torch.relu(%a)\n"
                  "  %c = call_function torch.nn.functional.relu(%b)\n"
                  "  output %c\n}\n"),
            (Paths{"module_relu", "module_relu_1", "module_relu_2"}));
}

TEST(Namer, a_relu_module_called_three_times) {
  EXPECT_EQ(paths("graph net {\n"
                  "  module relu = existing torch.nn.ReLU\n"
                  "  %x = placeholder x\n"
                  "  %a = call_module relu(%x)\n"
                  "  %b = call_module relu(%a)\n"
                  "  %c = call_module relu(%b)\n"
                  "  output %c\n}\n"),
            (Paths{"relu", "module_relu_1", "module_relu_2"}));
}

TEST(Namer, two_resnet_blocks_get_the_same_names) {
  EXPECT_EQ(paths("graph net {\n"
                  "  module layer1.0.conv1 = existing torch.nn.Conv2d\n"
                  "  module layer1.0.relu = existing torch.nn.ReLU\n"
                  "  module layer1.1.conv1 = existing torch.nn.Conv2d\n"
                  "  module layer1.1.relu = existing torch.nn.ReLU\n"
                  "  %x = placeholder x\n"
                  "  %a = call_module layer1.0.conv1(%x) in layer1.0 of layer1\n"
                  "  %b = call_module layer1.0.relu(%a) in layer1.0\n"
                  "  %c = call_function add(%b, %x) in layer1.0\n"
                  "  %d = call_module layer1.0.relu(%c) in layer1.0\n"
                  "  %e = call_module layer1.1.conv1(%d) in layer1.1\n"
                  "  %f = call_module layer1.1.relu(%e) in layer1.1\n"
                  "  %g = call_function add(%f, %d) in layer1.1\n"
                  "  %h = call_module layer1.1.relu(%g) in layer1.1\n"
                  "  output %h\n}\n"),
            (Paths{"layer1.0.conv1", "layer1.0.relu", "layer1.0.module_add", "layer1.0.module_relu_1", "layer1.1.conv1",
                   "layer1.1.relu", "layer1.1.module_add", "layer1.1.module_relu_1"}));
}

TEST(Namer, a_module_and_functionals_of_one_base_share_the_numbers) {
  EXPECT_EQ(paths("graph net {\n"
                  "  module relu = existing torch.nn.ReLU\n"
                  "  %x = placeholder x\n"
                  "  %a = call_module relu(%x)\n"
                  "  %b = call_function torch.relu(%a)\n"
                  "  %c = call_module relu(%b)\n"
                  "  output %c\n}\n"),
            (Paths{"relu", "module_relu_1", "module_relu_2"}));
}

TEST(Namer, a_taken_name_counts_up) {
  EXPECT_EQ(paths("graph net {\n"
                  "  module module_relu = existing torch.nn.ReLU\n"
                  "  parameter module_relu_1: float32[]\n"
                  "  taken module_relu_2\n"
                  "  %x = placeholder x\n"
                  "  %a = call_function torch.relu(%x)\n"
                  "  output %a\n}\n"),
            (Paths{"module_relu_3"}));
}

TEST(Namer, a_new_module_counts_under_its_base_so_numbers_outlive_a_pass) {
  const Graph graph = parse(
      "graph net {\n"
      "  module module_relu_7 = torch.nn.ReLU() for relu\n"
      "  %x = placeholder x\n"
      "  %a = call_module module_relu_7(%x)\n"
      "  %b = call_function torch.relu(%a)\n"
      "  output %b\n}\n");
  const auto numbers = call_numbers(graph, [](const Node&) -> std::string_view { return "relu"; });
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{0, 0, 1, 0}));
}

TEST(Namer, the_second_call_of_a_scope_counts_anew_and_its_names_count_up) {
  EXPECT_EQ(paths("graph net {\n"
                  "  %x = placeholder x\n"
                  "  %a = call_function torch.relu(%x) in block\n"
                  "  %b = call_function torch.relu(%a) in block#1\n"
                  "  output %b\n}\n"),
            (Paths{"block.module_relu", "block.module_relu_1"}));
}

TEST(Namer, a_function_without_base_takes_no_number) {
  const Graph graph = parse(
      "graph net {\n"
      "  %x = placeholder x\n"
      "  %a = call_function view(%x)\n"
      "  %b = call_function view(%a)\n"
      "  output %b\n}\n");
  const auto numbers = call_numbers(graph, [](const Node&) { return std::string_view(); });
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{0, 0, 0, 0}));
}

TEST(Namer, paths_split_at_the_last_dot_and_join_again) {
  EXPECT_EQ(split_path("layer1.0.conv1"), (std::pair<std::string_view, std::string_view>{"layer1.0", "conv1"}));
  EXPECT_EQ(split_path("conv1"), (std::pair<std::string_view, std::string_view>{"", "conv1"}));
  EXPECT_EQ(join_path("layer1.0", "conv1"), "layer1.0.conv1");
  EXPECT_EQ(join_path("", "conv1"), "conv1");
}

}  // namespace
}  // namespace modulize
