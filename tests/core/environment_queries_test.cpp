// The questions about the world around forward, and the worlds that the table makes of them.
#include "ir/environment_queries.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "explore/ambient.h"
#include "ir/graph.h"
#include "ops/effects_of.h"

namespace modulize {
namespace {

using Worlds = std::vector<std::set<std::string>>;

const std::string kTracing = "torch.jit.is_tracing", kCompiling = "torch.compiler.is_compiling",
                  kDynamo = "torch.compiler.is_dynamo_compiling", kExporting = "torch.compiler.is_exporting",
                  kOnnx = "torch.onnx.is_in_onnx_export";

TEST(EnvironmentQueries, WorldsOfTheTable) {
  EXPECT_EQ(other_worlds(), (Worlds{{kTracing},
                                    {kTracing, kOnnx},
                                    {kCompiling, kDynamo},
                                    {kCompiling, kExporting},
                                    {kCompiling, kDynamo, kExporting},
                                    {kCompiling, kExporting, kOnnx},
                                    {"torch.is_grad_enabled"},
                                    {"torch.is_inference_mode_enabled"},
                                    {"torch.is_autocast_enabled"},
                                    {"torch.is_autocast_cpu_enabled"}}));
}

TEST(EnvironmentQueries, EveryRowIsAQuestionOfItsOwn) {
  std::set<std::string_view> names;
  for (const EnvironmentQuery& query : environment_queries()) {
    EXPECT_TRUE(names.insert(query.question).second) << query.question;
    EXPECT_EQ(find_environment_query(query.question), &query);
    // What can be the other one is so in some world, and has a place where it is asked.
    const bool may_differ = query.answer == QueryAnswer::truth || query.answer == QueryAnswer::flag;
    EXPECT_EQ(may_differ, query.worlds != 0 || query.is_alone) << query.question;
    EXPECT_EQ(query.answer == QueryAnswer::truth, !query.homes[0].empty()) << query.question;
    Node node;
    node.op = Opcode::call_function;
    node.target = query.question;
    EXPECT_TRUE(asks_about_world(node)) << query.question;
  }
}

TEST(EnvironmentQueries, OtherFunctionsAreNone) {
  for (const std::string_view name : {"torch.relu", "is_tracing", "torch.jit.is_tracing_", ""})
    EXPECT_EQ(find_environment_query(name), nullptr) << name;
}

TEST(EnvironmentQueries, AnswersTellTheWorld) {
  const std::string grad = "torch.is_grad_enabled";
  using Questions = std::set<std::string>;
  EXPECT_EQ(world_of({}), Questions());
  EXPECT_EQ(world_of({{kTracing, false}, {kCompiling, false}}), Questions());
  EXPECT_EQ(world_of({{kTracing, true}}), Questions({kTracing}));
  EXPECT_EQ(world_of({{kTracing, true}, {kOnnx, true}}), Questions({kTracing, kOnnx}));
  EXPECT_EQ(world_of({{kCompiling, true}, {kExporting, false}}), Questions({kCompiling, kDynamo}));
  EXPECT_EQ(world_of({{kExporting, true}, {kTracing, false}}), Questions({kCompiling, kExporting}));
  // Nothing traces and compiles at once, and nothing exports without compiling.
  EXPECT_EQ(world_of({{kTracing, true}, {kCompiling, true}}), std::nullopt);
  EXPECT_EQ(world_of({{kExporting, true}, {kCompiling, false}}), std::nullopt);
  // A world of its own goes with every one.
  EXPECT_EQ(world_of({{grad, true}}), Questions());
  EXPECT_EQ(world_of({{grad, true}, {kTracing, true}}), Questions({kTracing}));
}

}  // namespace
}  // namespace modulize
