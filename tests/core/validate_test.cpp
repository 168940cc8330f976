#include "validate/validate.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "report/listing.h"

namespace modulize {
namespace {

/// "kind path where" of each finding.
std::vector<std::string> found(const std::string& text, const ModelFacts& facts = {}) {
  std::vector<std::string> out;
  for (const Finding& f : validate(parse(text), facts)) {
    EXPECT_FALSE(f.message.empty());
    EXPECT_FALSE(f.remedy.empty());
    out.push_back(std::string(finding_name(f.kind)) + " '" + f.path + "' " + f.where);
  }
  return out;
}

using Texts = std::vector<std::string>;

TEST(Validate, AModelOfModulesHasNoFinding) {
  const std::string text =
      "graph net {\n  module fc = existing torch.nn.Linear\n  module module_add = modulize.nn.Add() for add\n"
      "  %x: tensor = placeholder x\n  %fc: tensor = call_module fc(%x)\n"
      "  %y: tensor = call_module module_add(%fc, 1)\n  output %y\n}\n";
  EXPECT_EQ(found(text, {{{"fc", "torch.nn.Linear"}}, {}}), Texts{});
}

TEST(Validate, ASecondCallIsAReuseWithBothPlaces) {
  const std::string text =
      "graph net {\n  module act = existing torch.nn.ReLU\n  %x: tensor = placeholder x\n"
      "  %a: tensor = call_module act(%x) at \"net.py\":3\n  %b: tensor = call_module act(%a) at \"net.py\":4\n"
      "  output %b\n}\n";
  EXPECT_EQ(found(text), Texts{"reused_module 'act' net.py:3"});
  EXPECT_NE(validate(parse(text), {})[0].message.find("net.py:4"), std::string::npos);
}

TEST(Validate, CallsThatComputeAreFoundViewsAreNot) {
  const std::string text =
      "graph net {\n  %x: tensor = placeholder x\n  %v: tensor = call_method view(%x, -1)\n"
      "  %r: tensor = call_function torch.relu(%v) in block at \"net.py\":7\n"
      "  %u: tensor = call_function library.unknown(%r) at \"net.py\":8\n"
      "  %n: number = call_function library.count(%u)\n  output %u\n}\n";
  EXPECT_EQ(found(text), (Texts{"functional 'block' net.py:7", "functional '' net.py:8"}));
}

TEST(Validate, AModuleOfTheUsersThatRunsAsOneIsOpaque) {
  const std::string text =
      "graph net {\n  module inner = existing library.Inner\n  %x: tensor = placeholder x\n"
      "  %y: tensor = call_module inner(%x)\n  output %y\n}\n";
  EXPECT_EQ(found(text, {{{"inner.fc", "torch.nn.Linear"}, {"spare", "torch.nn.Linear"}}, {}}),
            (Texts{"opaque_module 'inner' ", "unused_module 'spare' "}));
}

TEST(Validate, OnlyDecisionsOnValuesAreControlFlow) {
  const std::string text =
      "graph net {\n  %x: tensor = placeholder x\n  %s: tensor = call_method sum(%x)\n"
      "  %d: number = call_function modulize._runtime.truth(%s) at \"net.py\":5\n"
      "  %q = call_function torch.jit.is_tracing()\n  %t: number = call_function modulize._runtime.truth(%q)\n"
      "  %c: number = call_function modulize._runtime.select(%d, 1, 2)\n"
      "  %e: number = call_function modulize._runtime.select(%t, 1, %c)\n  output %e\n}\n";
  EXPECT_EQ(found(text), (Texts{"functional '' ", "control_flow '' net.py:5"}));
}

TEST(Validate, ATensorOfTwoModulesThatRunIsShared) {
  const std::string text =
      "graph net {\n  module a = existing torch.nn.Linear\n  module b = existing torch.nn.Linear\n"
      "  %x: tensor = placeholder x\n  %y: tensor = call_module a(%x)\n  %z: tensor = call_module b(%y)\n"
      "  output %z\n}\n";
  EXPECT_EQ(found(text, {{}, {{"a.weight", "b.weight"}}}), Texts{"shared_parameter 'a' "});
  EXPECT_EQ(found(text, {{}, {{"a.weight", "c.weight"}}}), Texts{});
}

TEST(Listing, BothSidesOfABranchAreListedWithTheirScopes) {
  const Graph graph = parse(
      "graph net {\n  module module_branch = branch graph on_true {\n    %a: tensor = placeholder a\n"
      "    %r: tensor = call_function torch.relu(%a)\n    output (%r,)\n  } else graph on_false {\n"
      "    %a: tensor = placeholder a\n    output (%a,)\n  }\n  %x: tensor = placeholder x\n"
      "  %s: tensor = call_method sum(%x)\n  %d: number = call_function modulize._runtime.truth(%s)\n"
      "  %b = call_module module_branch(%d, %x)\n  %y: tensor = call_function operator.getitem(%b, 0)\n  output "
      "%y\n}\n");
  std::vector<std::string> names;
  for (const ListedNode& node : list_nodes(graph)) names.push_back(node.scope + ":" + node.name);
  EXPECT_EQ(names, (Texts{":x", ":s", ":d", ":b", "module_branch.if true:b/true/a", "module_branch.if true:b/true/r",
                          "module_branch.if true:b/true/output", "module_branch.if false:b/false/a",
                          "module_branch.if false:b/false/output", ":y", ":output"}));
  const ComputingCalls calls = count_computing_calls(graph);
  EXPECT_EQ(calls.modules, 0u);
  EXPECT_EQ(calls.others, 2u);  // sum, and relu on one side
}

}  // namespace
}  // namespace modulize
