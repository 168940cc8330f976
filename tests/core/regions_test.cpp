// Context regions in the core: their invariant, their source, and what they mean for storages.
#include "ir/regions.h"

#include <gtest/gtest.h>

#include "codegen/codegen.h"
#include "ir/parser.h"
#include "ir/verifier.h"
#include "ops/storage.h"
#include "ops/value_types.h"
#include "support/error.h"

namespace modulize {
namespace {

std::string verdict(const std::string& lines) {
  try {
    verify(parse("graph net {\n%x: tensor = placeholder x\n" + lines + "\n}\n"));
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

std::string source(const std::string& lines, std::size_t chunk_lines = 2000) {
  CodegenOptions options;
  options.access = ModuleAccess::attribute;
  options.chunk_lines = chunk_lines;
  return generate(parse("graph net {\n%x: tensor = placeholder x\n" + lines + "\n}"), options).text();
}

constexpr const char* kNoGrad = "%w = call_function modulize._runtime.enter(\"torch.no_grad\")\n";

TEST(Regions, verifier_wants_them_left_once_and_nested) {
  const std::string open = kNoGrad, leave = "%l = call_function modulize._runtime.leave(%w)\n";
  EXPECT_EQ(verdict(open + "%y = call_module fc(%x)\n" + leave + "output %y"),
            "invariant 10: the module tree has no module 'fc': `%y = call_module fc(%x)`");
  EXPECT_EQ(verdict(open + "%y = call_method relu(%x)\n" + leave + "output %y"), "accepted");
  EXPECT_EQ(verdict(open + "output %x"),
            "invariant 19: `%w = call_function modulize._runtime.enter('torch.no_grad')` is never left");
  EXPECT_EQ(verdict(open + leave + "%m = call_function modulize._runtime.leave(%w)\noutput %x"),
            "invariant 19: `%m = call_function modulize._runtime.leave(%w)` does not leave the region that was entered "
            "last");
  EXPECT_EQ(verdict(open + "%v = call_function modulize._runtime.enter(\"torch.enable_grad\")\n" + leave +
                    "%m = call_function modulize._runtime.leave(%v)\noutput %x"),
            "invariant 19: `%l = call_function modulize._runtime.leave(%w)` does not leave the region that was entered "
            "last, `%v = call_function modulize._runtime.enter('torch.enable_grad')`");
  EXPECT_EQ(verdict(open + leave + "output %w"), "invariant 19: `output %w` uses a region and is not its leave");
  EXPECT_EQ(verdict("%w = call_function modulize._runtime.enter(%x)\n" + leave + "output %x"),
            "invariant 19: `%w = call_function modulize._runtime.enter(%x)` does not name what it enters");
  EXPECT_EQ(
      verdict(open + "%l = call_function modulize._runtime.leave(%w) in block\noutput %x"),
      "invariant 19: `%l = call_function modulize._runtime.leave(%w) in block` stands in another scope than `%w = "
      "call_function modulize._runtime.enter('torch.no_grad')`");
}

TEST(Regions, are_written_as_nested_blocks) {
  EXPECT_EQ(source("%d: other = call_function builtins.getattr(%x, \"device\")\n"
                   "%t: other = call_function builtins.getattr(%d, \"type\")\n"
                   "%w = call_function modulize._runtime.enter(\"torch.autocast\", %t, dtype=torch.bfloat16)\n"
                   "%a: tensor = call_module fc(%x)\n"
                   "%v = call_function modulize._runtime.enter(\"torch.no_grad\")\n"
                   "%b: tensor = call_method exp(%a)\n"
                   "%l = call_function modulize._runtime.leave(%v)\n"
                   "%c: tensor = call_function torch.add(%a, %b)\n"
                   "%m = call_function modulize._runtime.leave(%w)\n"
                   "output %c"),
            "def forward(self, x):\n"
            "    with torch.autocast(x.device.type, dtype=torch.bfloat16):\n"
            "        x = self.fc(x)\n"
            "        with torch.no_grad():\n"
            "            b = x.exp()\n"
            "        x = torch.add(x, b)\n"
            "    return x\n");
}

TEST(Regions, around_nothing_are_legal_source) {
  EXPECT_EQ(source(std::string(kNoGrad) + "%v = call_function modulize._runtime.enter(\"torch.enable_grad\")\n"
                                          "%l = call_function modulize._runtime.leave(%v)\n"
                                          "%m = call_function modulize._runtime.leave(%w)\noutput %x"),
            "def forward(self, x):\n"
            "    with torch.no_grad():\n"
            "        with torch.enable_grad():\n"
            "            pass\n"
            "    return x\n");
}

TEST(Regions, are_never_cut_into_pieces) {
  EXPECT_EQ(
      source(std::string(kNoGrad) +
                 "%a: tensor = call_module f1(%x)\n%b: tensor = call_module f2(%a)\n%c: tensor = call_module f3(%b)\n"
                 "%l = call_function modulize._runtime.leave(%w)\n"
                 "%d: tensor = call_module f4(%c)\noutput %d",
             2),
      "def _forward_1(self, x):\n"
      "    with torch.no_grad():\n"
      "        x = self.f1(x)\n"
      "        x = self.f2(x)\n"
      "        x = self.f3(x)\n"
      "    return x\n"
      "\n"
      "def _forward_2(self, x):\n"
      "    x = self.f4(x)\n"
      "    return x\n"
      "\n"
      "def forward(self, x):\n"
      "    x = _forward_1(self, x)\n"
      "    return _forward_2(self, x)\n");
}

TEST(Regions, codegen_refuses_what_does_not_nest) {
  EXPECT_THROW(source(std::string(kNoGrad) + "output %x"), Error);
  EXPECT_THROW(source("%l = call_function modulize._runtime.leave(%x)\noutput %x"), Error);
  EXPECT_THROW(source("%w = call_function modulize._runtime.enter(%x)\n"
                      "%l = call_function modulize._runtime.leave(%w)\noutput %x"),
               Error);
}

// The names of the in-place nodes whose storage counts as read elsewhere.
std::string read_elsewhere(const std::string& lines) {
  const Graph graph =
      parse("graph net {\n%x: tensor = placeholder x\n%y: tensor = call_method exp(%x)\n" + lines + "\n}");
  const std::vector<bool> is_read = written_storage_is_read(graph, value_types(graph));
  std::string names;
  for (const NodeId id : graph.order())
    if (is_read[id] && graph[id].target == "add_") names += graph[id].name;
  return names;
}

TEST(Regions, a_write_across_their_border_stays_a_write) {
  const std::string open = kNoGrad, leave = "%l = call_function modulize._runtime.leave(%w)\n";
  EXPECT_EQ(read_elsewhere(open + "%a: tensor = call_method add_(%y, 1)\n" + leave + "output %a"), "a");
  EXPECT_EQ(read_elsewhere(open + "%z: tensor = call_method sin(%y)\n" + leave +
                           "%a: tensor = call_method add_(%z, 1)\noutput %a"),
            "");
  EXPECT_EQ(read_elsewhere("%e = call_function modulize._runtime.enter(\"torch.enable_grad\")\n"
                           "%z: tensor = call_method sin(%y)\n%m = call_function modulize._runtime.leave(%e)\n"
                           "%a: tensor = call_method add_(%z, 1)\noutput %a"),
            "a");
  EXPECT_EQ(read_elsewhere("%e = call_function modulize._runtime.enter(\"torch.autocast\", \"cpu\")\n"
                           "%a: tensor = call_method add_(%y, 1)\n%m = call_function modulize._runtime.leave(%e)\n"
                           "output %a"),
            "");
  EXPECT_EQ(read_elsewhere("%s = call_function torch._C._set_grad_enabled(False)\n"
                           "%a: tensor = call_method add_(%y, 1)\noutput %a"),
            "a");
  EXPECT_EQ(read_elsewhere(open + "%z: tensor = call_method sin(%y)\n%a: tensor = call_method add_(%z, 1)\n" + leave +
                           "output %a"),
            "");
  EXPECT_EQ(read_elsewhere("%a: tensor = call_method add_(%y, 1)\n" + open + leave + "output %a"), "");
}

}  // namespace
}  // namespace modulize
