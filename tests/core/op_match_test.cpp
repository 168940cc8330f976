// The op table's texts, and how a call's arguments are bound to a row.
#include "ops/op_match.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "ops/lowering.h"

namespace modulize {
namespace {

Node function_call(std::string target, ValueList args, Kwargs kwargs = {}) {
  Node node;
  node.op = Opcode::call_function;
  node.target = std::move(target);
  node.args = std::move(args);
  node.kwargs = std::move(kwargs);
  return node;
}

std::optional<BoundArguments> bind(const Node& node) {
  const OpSpelling* spelling = find_op(node);
  EXPECT_NE(spelling, nullptr) << node.target;
  return spelling ? bind_arguments(*spelling, node) : std::nullopt;
}

const Value kX = Value::node(0);

TEST(Signature, reads_kinds_and_defaults) {
  const auto parameters = parse_signature("input, dim=(), p='fro', *, eps=1e-05, dtype=torch.float32, **kwargs");
  ASSERT_EQ(parameters.size(), 6u);
  EXPECT_FALSE(parameters[0].has_default);
  EXPECT_EQ(parameters[1].default_value, Value::tuple({}));
  EXPECT_EQ(parameters[2].default_value, Value::string("fro"));
  EXPECT_EQ(parameters[3].kind, Parameter::Kind::keyword_only);
  EXPECT_EQ(parameters[3].default_value, Value::floating(1e-5));
  EXPECT_EQ(parameters[4].default_value, Value::name("torch.float32"));
  EXPECT_EQ(parameters[5].kind, Parameter::Kind::var_keyword);
}

TEST(Signature, splits_outside_of_brackets_and_quotes) {
  EXPECT_EQ(split_list("a=(1, 2), b='x, y' , , c[d, e]"),
            (std::vector<std::string_view>{"a=(1, 2)", "b='x, y'", "c[d, e]"}));
}

TEST(OpTable, every_text_parses_and_every_module_is_found) {
  ASSERT_EQ(all_ops().size(), op_rows().size());
  for (const Op& op : all_ops()) {
    EXPECT_TRUE(op.row->module.starts_with("torch.nn.") || op.row->module.starts_with("modulize.nn.")) << op.call;
    EXPECT_NE(find_op_of_module(op.row->module), nullptr) << op.call;
    EXPECT_FALSE(op.row->sample.empty()) << op.call;
    EXPECT_TRUE(op.is_layer || !op.row->doc.empty()) << op.call;
  }
}

TEST(OpTable, a_private_home_is_the_public_function) {
  EXPECT_EQ(canonical_call("torch._C._nn.gelu"), "torch.nn.functional.gelu");
  EXPECT_EQ(canonical_call("torch._C._linalg.linalg_norm"), "torch.linalg.norm");
  EXPECT_EQ(canonical_call("_operator.add"), "operator.add");
  EXPECT_EQ(canonical_call("torch.relu"), "torch.relu");
  EXPECT_EQ(find_op(function_call("torch._C._nn.gelu", {})), find_op(function_call("torch.nn.functional.gelu", {})));
}

TEST(OpTable, methods_and_functions_are_apart) {
  Node method;
  method.op = Opcode::call_method;
  method.target = "relu";
  EXPECT_NE(find_op(method), nullptr);
  EXPECT_EQ(find_op(function_call("relu", {})), nullptr);
  method.target = "view";
  EXPECT_EQ(find_op(method), nullptr);
  ASSERT_NE(find_passive(method), nullptr);
  EXPECT_EQ(find_passive(method)->reason, PassiveReason::view);
}

TEST(BindArguments, position_keyword_and_default_are_the_same) {
  const std::string leaky_relu = "torch.nn.functional.leaky_relu";
  const auto a = bind(function_call(leaky_relu, {kX, Value::floating(0.2)}));
  const auto b = bind(function_call(leaky_relu, {}, {{"negative_slope", Value::floating(0.2)}, {"input", kX}}));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->values, b->values);
  EXPECT_EQ(a->values[2], Value::boolean(false));
  EXPECT_FALSE(a->given[2]);
}

TEST(BindArguments, reflected_operands_are_swapped) {
  Node node;
  node.op = Opcode::call_method;
  node.target = "__rsub__";
  node.args = {kX, Value::integer(1)};
  const auto bound = bind(node);
  ASSERT_TRUE(bound);
  EXPECT_EQ(bound->values[0], Value::integer(1));
  EXPECT_EQ(bound->values[1], kX);
  // torch.rsub names its own first parameter `input`: it is the one subtracted.
  const auto named = bind(function_call("torch.rsub", {}, {{"input", kX}, {"other", Value::integer(1)}}));
  ASSERT_TRUE(named);
  EXPECT_EQ(named->values[0], Value::integer(1));
}

TEST(BindArguments, numpy_names_are_synonyms) {
  const auto bound = bind(function_call("torch.cat", {Value::list({kX})}, {{"axis", Value::integer(1)}}));
  ASSERT_TRUE(bound);
  EXPECT_EQ(bound->values[1], Value::integer(1));
}

TEST(BindArguments, refuses_what_does_not_fit) {
  EXPECT_FALSE(bind(function_call("torch.add", {kX, kX}, {{"out", kX}})));
  EXPECT_FALSE(bind(function_call("torch.mean", {kX}, {{"out", kX}})));
  EXPECT_FALSE(bind(function_call("torch.add", {kX})));
  EXPECT_FALSE(bind(function_call("torch.add", {kX, kX, kX})));
  EXPECT_FALSE(bind(function_call("torch.add", {kX, kX}, {{"input", kX}})));
  EXPECT_FALSE(bind(function_call("operator.add", {kX, kX}, {{"alpha", Value::integer(2)}})));
}

TEST(BindArguments, spellings_bring_fixed_arguments) {
  const auto bound = bind(function_call("torch.nn.functional.relu_", {kX}));
  ASSERT_TRUE(bound);
  EXPECT_EQ(bound->values[1], Value::boolean(true));
}

TEST(Lowerings, an_op_is_found_only_where_a_tensor_may_be) {
  const Graph graph = parse(R"(graph net {
  %x: tensor = placeholder x
  %n: number = call_method size(%x, 0)
  %m = call_function operator.mul(%n, 2)
  %y = call_function operator.mul(%m, %x)
  output %y
}
)");
  const Lowerings lowerings(graph, "torch");
  std::vector<std::string> found;
  for (const NodeId id : graph.order())
    if (lowerings.op_of(id)) found.push_back(graph[id].name);
  EXPECT_EQ(found, std::vector<std::string>{"y"});
}

}  // namespace
}  // namespace modulize
