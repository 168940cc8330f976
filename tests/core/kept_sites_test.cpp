#include "ir/kept_sites.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "ir/printer.h"

namespace modulize {
namespace {

constexpr const char* kCaptured =
    "graph net {\n"
    "  %x: tensor = placeholder x\n"
    "  %root: other = get_attr _modulize_module\n"
    "  %enter: other = call_function modulize._runtime.enter('modulize._runtime.Sites', %root, 'forward')\n"
    "  %y: tensor = call_function @1:\"<function f>\"(%x)\n"
    "  %leave: other = call_function modulize._runtime.leave(%enter)\n"
    "  output %y\n"
    "}\n";

KeptSite site(int instruction) {
  return {.file = "net.py",
          .function = "forward",
          .first_line = 7,
          .instruction = instruction,
          .name = "add",
          .is_method = true,
          .target = "add",
          .positional = 1,
          .keywords = {"other"},
          .where = "models/net.py:8"};
}

NodeId enter_of(const Graph& graph) {
  for (const NodeId id : graph.order())
    if (enters_kept_code(graph[id])) return id;
  return kNoNode;
}

TEST(KeptSites, StandInTheGraphAndAreReadBack) {
  Graph graph = parse(kCaptured);
  EXPECT_FALSE(kept_sites(graph[enter_of(graph)]));
  write_sites(graph, {{"forward", {site(24), site(30)}}, {"elsewhere", {site(40)}}});
  const Graph read = parse(print(graph));
  const auto sites = kept_sites(read[enter_of(read)]);
  ASSERT_TRUE(sites);
  EXPECT_EQ(*sites, (std::vector<KeptSite>{site(24), site(30)}));
  const KeptSite& first = sites->front();
  EXPECT_TRUE(first.is_method);
  EXPECT_EQ(first.target, "add");
  EXPECT_EQ(first.where, "models/net.py:8");
  const std::string once = print(graph);
  write_sites(graph, {{"forward", {site(50)}}});
  EXPECT_EQ(print(graph), once);  // written once
}

TEST(KeptSites, ARegionThatWasNotMetHasNone) {
  Graph graph = parse(kCaptured);
  write_sites(graph, {});
  const auto sites = kept_sites(graph[enter_of(graph)]);
  ASSERT_TRUE(sites);
  EXPECT_TRUE(sites->empty());
}

TEST(KeptSites, OfTwoCapturesEachStandsOnce) {
  KeptSites sites{{"a", {site(24)}}};
  KeptSite again = site(24);
  again.where = "elsewhere";
  merge_sites(sites, {{"a", {again, site(30)}}, {"b", {site(24)}}});
  EXPECT_EQ(sites, (KeptSites{{"a", {site(24), site(30)}}, {"b", {site(24)}}}));
  EXPECT_EQ(sites.at("a").front().where, "models/net.py:8");
}

TEST(KeptSites, ACallDiffersByItsForm) {
  KeptSite by_position = site(24);
  by_position.positional = 2;
  by_position.keywords.clear();
  EXPECT_FALSE(by_position == site(24));
}

}  // namespace
}  // namespace modulize
