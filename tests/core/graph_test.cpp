#include "ir/graph.h"

#include <gtest/gtest.h>

#include "ir/verifier.h"
#include "support/error.h"

namespace modulize {
namespace {

Node call(std::string target, ValueList args = {}) {
  Node node;
  node.op = Opcode::call_function;
  node.target = std::move(target);
  node.args = std::move(args);
  return node;
}

std::vector<std::string> names(const Graph& graph) {
  std::vector<std::string> out;
  for (const NodeId id : graph.order()) out.push_back(graph[id].name);
  return out;
}

// The names from the end to the front, by `prev`.
std::vector<std::string> names_backwards(const Graph& graph) {
  std::vector<std::string> out;
  for (NodeId id = graph.last(); id != kNoNode; id = graph[id].prev) out.push_back(graph[id].name);
  return out;
}

using Names = std::vector<std::string>;

TEST(Graph, add_names_nodes_after_their_target) {
  Graph g;
  g.add(call("torch.nn.functional.relu"));
  g.add(call("torch.relu"));
  g.add(call("relu"));
  Node module;
  module.op = Opcode::call_module;
  module.target = "layer1.0.conv1";
  g.add(module);
  Node varargs;
  varargs.op = Opcode::placeholder;
  varargs.target = "**kwargs";
  g.add(varargs);
  g.add(call("operator.__getitem__"));
  g.add(call(""));
  g.add(call("a.0"));
  Node output;
  output.op = Opcode::output;
  g.add(output);
  EXPECT_EQ(names(g),
            (Names{"relu", "relu_1", "relu_2", "layer1_0_conv1", "kwargs", "getitem", "call", "_0", "output"}));
  EXPECT_EQ(g.size(), 9u);
}

TEST(Graph, a_given_name_that_is_taken_counts_up) {
  Graph g;
  Node node = call("f");
  node.name = "x";
  g.add(node);
  g.add(node);
  node.name = "x_1";
  g.add(node);
  EXPECT_EQ(names(g), (Names{"x", "x_1", "x_1_1"}));
}

TEST(Graph, insert_before_links_both_ways) {
  Graph g;
  const NodeId b = g.add(call("b"));
  const NodeId a = g.insert_before(b, call("a"));
  g.insert_before(b, call("between"));
  g.insert_before(kNoNode, call("c"));
  EXPECT_EQ(names(g), (Names{"a", "between", "b", "c"}));
  EXPECT_EQ(names_backwards(g), (Names{"c", "b", "between", "a"}));
  EXPECT_EQ(g.first(), a);
}

TEST(Graph, erase_unlinks_at_the_front_the_middle_and_the_end) {
  Graph g;
  const NodeId a = g.add(call("a")), b = g.add(call("b")), c = g.add(call("c"));
  g.erase(b);
  EXPECT_EQ(names(g), (Names{"a", "c"}));
  EXPECT_EQ(names_backwards(g), (Names{"c", "a"}));
  g.erase(a);
  EXPECT_EQ(g.first(), c);
  g.erase(c);
  EXPECT_EQ(g.first(), kNoNode);
  EXPECT_EQ(g.last(), kNoNode);
  EXPECT_EQ(g.size(), 0u);
  EXPECT_EQ(g.id_limit(), 3u);
}

TEST(Graph, an_erased_name_is_free_again_and_its_id_is_not) {
  Graph g;
  const NodeId old = g.add(call("relu"));
  g.erase(old);
  const NodeId fresh = g.add(call("relu"));
  EXPECT_EQ(g[fresh].name, "relu");
  EXPECT_NE(fresh, old);
}

TEST(Graph, the_current_node_may_be_erased_while_iterating) {
  Graph g;
  for (const char* name : {"a", "b", "c", "d"}) g.add(call(name));
  Names seen;
  for (const NodeId id : g.order()) {
    seen.push_back(g[id].name);
    if (seen.size() % 2) g.erase(id);
  }
  EXPECT_EQ(seen, (Names{"a", "b", "c", "d"}));
  EXPECT_EQ(names(g), (Names{"b", "d"}));
}

TEST(Graph, nodes_inserted_behind_the_current_one_are_visited_and_those_before_it_not) {
  Graph g;
  const NodeId a = g.add(call("a"));
  g.add(call("b"));
  Names seen;
  for (const NodeId id : g.order()) {
    seen.push_back(g[id].name);
    if (id == a) {
      g.insert_before(a, call("before"));
      g.insert_before(g[a].next, call("behind"));
    }
  }
  EXPECT_EQ(seen, (Names{"a", "behind", "b"}));
  EXPECT_EQ(names(g), (Names{"before", "a", "behind", "b"}));
}

TEST(Graph, every_node_may_be_erased_while_iterating) {
  Graph g;
  for (int i = 0; i < 5; ++i) g.add(call("f"));
  for (const NodeId id : g.order()) g.erase(id);
  EXPECT_EQ(g.size(), 0u);
}

TEST(Graph, truncate_undoes_what_was_recorded_since) {
  Graph g;
  g.add(call("relu"));
  const NodeId mark = static_cast<NodeId>(g.id_limit());
  g.add(call("relu"));
  g.add(call("add"));
  g.truncate(mark);
  EXPECT_EQ(names(g), (Names{"relu"}));
  EXPECT_EQ(g.id_limit(), 1u);
  const NodeId next = g.add(call("add"));
  EXPECT_EQ(next, mark);
  EXPECT_EQ(g[next].name, "add");
  EXPECT_EQ(names_backwards(g), (Names{"add", "relu"}));
}

TEST(Graph, replace_uses_reaches_every_place_behind_the_node) {
  Graph g;
  const NodeId x = g.add(call("x")), y = g.add(call("y"));
  const NodeId early = g.add(call("early", {Value::node(x)}));
  const NodeId a = g.add(call("a", {Value::tuple({Value::node(x), Value::list({Value::node(x)})}), Value::node(y)}));
  g[a].kwargs.emplace_back("k", Value::dict({{Value::string("x"), Value::node(x)}}));
  g.replace_uses(x, Value::node(y));
  EXPECT_EQ(g[early].args[0], Value::node(y));
  EXPECT_EQ(g[a].args[0], Value::tuple({Value::node(y), Value::list({Value::node(y)})}));
  EXPECT_EQ(g[a].args[1], Value::node(y));
  EXPECT_EQ(g[a].kwargs[0].second, Value::dict({{Value::string("x"), Value::node(y)}}));
}

TEST(Graph, replace_uses_spares_the_replacement_itself) {
  Graph g;
  const NodeId x = g.add(call("x"));
  const NodeId wrapped = g.add(call("wrap", {Value::node(x)}));
  const NodeId user = g.add(call("user", {Value::node(x)}));
  g.replace_uses(x, Value::node(wrapped));
  EXPECT_EQ(g[wrapped].args[0], Value::node(x));
  EXPECT_EQ(g[user].args[0], Value::node(wrapped));
}

TEST(Graph, replace_uses_takes_a_literal) {
  Graph g;
  const NodeId x = g.add(call("x"));
  const NodeId user = g.add(call("user", {Value::node(x)}));
  g.replace_uses(x, Value::integer(3));
  EXPECT_EQ(g[user].args[0], Value::integer(3));
}

TEST(Graph, use_counts_count_every_reference) {
  Graph g;
  const NodeId x = g.add(call("x"));
  const NodeId y = g.add(call("y", {Value::node(x), Value::node(x)}));
  g.add(call("z", {Value::list({Value::node(x), Value::node(y)})}));
  EXPECT_EQ(use_counts(g), (std::vector<std::uint32_t>{3, 1, 0}));
}

TEST(Graph, equal_sources_share_an_id) {
  Graph g;
  const SourceId a = g.add_source("net.py", 3);
  EXPECT_EQ(g.add_source("net.py", 3), a);
  EXPECT_NE(g.add_source("net.py", 4), a);
  Node node = call("f");
  EXPECT_EQ(g.where(node), "");
  node.source = a;
  EXPECT_EQ(g.where(node), "net.py:3");
}

TEST(Graph, the_unknown_source_is_number_0) {
  Graph g;
  EXPECT_EQ(g.add_source("", 0), kNoSource);
}

TEST(Graph, a_copy_is_independent) {
  Graph g;
  g.add(call("a"));
  Graph copy = g;
  copy.add(call("b"));
  copy[0].target = "changed";
  EXPECT_EQ(names(g), (Names{"a"}));
  EXPECT_EQ(g[0].target, "a");
}

TEST(Graph, output_is_found_only_at_the_end) {
  Graph g;
  EXPECT_EQ(g.output(), kNoNode);
  Node output;
  output.op = Opcode::output;
  const NodeId id = g.add(output);
  EXPECT_EQ(g.output(), id);
  g.add(call("late"));
  EXPECT_EQ(g.output(), kNoNode);
}

TEST(Graph, hundred_thousand_equal_names_stay_linear) {
  Graph g;
  for (int i = 0; i < 100000; ++i) g.add(call("torch.relu"));
  EXPECT_EQ(g[99999].name, "relu_99999");
}

TEST(ModuleTree, paths_are_unique_across_modules_and_tensors) {
  ModuleTree tree;
  tree.add({.path = "conv", .type = "torch.nn.Conv2d"});
  tree.add_tensor({.path = "conv.weight", .dtype = "float32"});
  EXPECT_THROW(tree.add({.path = "conv"}), Error);
  EXPECT_THROW(tree.add({.path = "conv.weight"}), Error);
  EXPECT_THROW(tree.add_tensor({.path = "conv"}), Error);
  EXPECT_EQ(tree.modules().size(), 1u);
  EXPECT_EQ(tree.tensors().size(), 1u);
}

TEST(ModuleTree, find_tells_modules_from_tensors) {
  ModuleTree tree;
  tree.add({.path = "conv", .type = "torch.nn.Conv2d"});
  tree.add_tensor({.path = "w", .dtype = "float32"});
  tree.add_taken("name");
  EXPECT_EQ(tree.find("conv")->type, "torch.nn.Conv2d");
  EXPECT_EQ(tree.find("w"), nullptr);
  EXPECT_EQ(tree.find_tensor("w")->dtype, "float32");
  EXPECT_EQ(tree.find_tensor("conv"), nullptr);
  EXPECT_EQ(tree.find("name"), nullptr);
  EXPECT_TRUE(tree.is_taken("name"));
  EXPECT_FALSE(tree.is_taken("conv.weight"));
}

TEST(ModuleTree, filter_frees_the_paths_of_what_goes) {
  ModuleTree tree;
  tree.add({.path = "a"});
  tree.add({.path = "b"});
  tree.add_taken("c");
  tree.filter([](const ModuleSpec& spec) { return spec.path != "a"; });
  EXPECT_EQ(tree.find("a"), nullptr);
  EXPECT_EQ(tree.find("b"), &tree.modules()[0]);
  EXPECT_FALSE(tree.is_taken("a"));
  EXPECT_TRUE(tree.is_taken("c"));
  tree.add({.path = "a"});
  EXPECT_EQ(tree.modules().size(), 2u);
}

}  // namespace
}  // namespace modulize
