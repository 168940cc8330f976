// Types that follow where the capture could not know.
#include "ops/value_types.h"

#include <gtest/gtest.h>

#include "ir/parser.h"

namespace modulize {
namespace {

std::string types_of(std::string_view body) {
  const Graph graph =
      parse("graph net {\n  parameter w: float32[3]\n  %x = placeholder x\n" + std::string(body) + "  output %x\n}\n");
  const std::vector<ValueType> types = value_types(graph);
  std::string out;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op == Opcode::placeholder || node.op == Opcode::output) continue;
    out += (out.empty() ? "" : " ") + node.name + ":" + std::string(value_type_name(types[id]));
  }
  return out;
}

TEST(ValueTypes, sizes_and_numbers) {
  EXPECT_EQ(types_of("  %s = call_method size(%x)\n"
                     "  %n = call_function operator.getitem(%s, 0)\n"
                     "  %t = call_function operator.getitem(%s, slice(1, None, None))\n"
                     "  %m = call_method size(%x, 1)\n"
                     "  %k = call_method size(%x, dim=1)\n"
                     "  %d = call_method dim(%x)\n"
                     "  %l = call_function builtins.len(%x)\n"),
            "s:size n:number t:size m:number k:number d:number l:number");
}

TEST(ValueTypes, attributes) {
  EXPECT_EQ(types_of("  %s = call_function builtins.getattr(%x, \"shape\")\n"
                     "  %n = call_function builtins.getattr(%x, \"ndim\")\n"
                     "  %d = call_function builtins.getattr(%x, \"dtype\")\n"
                     "  %t = call_function builtins.getattr(%x, \"T\")\n"
                     "  %u = call_function builtins.getattr(%x, \"logits\")\n"),
            "s:size n:number d:other t:tensor u:unknown");
}

TEST(ValueTypes, arithmetic_is_what_its_operands_are) {
  EXPECT_EQ(types_of("  %n = call_method size(%x, 0)\n"
                     "  %a = call_function operator.add(%n, 1)\n"
                     "  %b = call_function operator.truediv(%a, %n)\n"
                     "  %c = call_function operator.mul(%b, %x)\n"
                     "  %w = get_attr w\n"
                     "  %d = call_function operator.mul(%b, %w)\n"
                     "  %s = call_method size(%x)\n"
                     "  %e = call_function operator.add(%s, (1,))\n"
                     "  %f = call_function operator.lt(%a, 3)\n"
                     "  %g = call_function operator.lt(%w, 3)\n"),
            "n:number a:number b:number c:unknown w:tensor d:tensor s:size e:size f:number g:tensor");
}

TEST(ValueTypes, sequences_of_tensors) {
  EXPECT_EQ(types_of("  %c = call_method chunk(%x, 2)\n"
                     "  %a = call_function operator.getitem(%c, 0)\n"
                     "  %r = call_function operator.getitem(%c, slice(1, None, None))\n"
                     "  %b = call_function operator.getitem(%r, 0)\n"
                     "  %k = call_function torch.topk(%x, 3)\n"
                     "  %v = call_function operator.getitem(%k, 0)\n"),
            "c:other a:tensor r:other b:tensor k:other v:tensor");
}

TEST(ValueTypes, what_the_capture_knew_stands) {
  EXPECT_EQ(types_of("  %m: other = call_method max(%x, 1)\n"
                     "  %v = call_function operator.getitem(%m, 0)\n"
                     "  %q = call_function mylib.f(%x)\n"
                     "  %t = get_attr training\n"),
            "m:other v:tensor q:unknown t:number");
}

TEST(ValueTypes, builtins_of_numbers) {
  EXPECT_EQ(types_of("  %s = call_method size(%x)\n"
                     "  %n = call_function operator.getitem(%s, 0)\n"
                     "  %a = call_function builtins.min(%n, 3)\n"
                     "  %b = call_function builtins.max([%n, %a])\n"
                     "  %c = call_function builtins.round(%b)\n"
                     "  %d = call_function builtins.divmod(%c, 2)\n"
                     "  %e = call_function operator.getitem(%d, 1)\n"
                     "  %f = call_function builtins.tuple(%s)\n"
                     "  %g = call_function builtins.max(%x, 3)\n"),
            "s:size n:number a:number b:number c:number d:size e:number f:size g:unknown");
}

TEST(ValueTypes, methods_of_numbers_are_other_methods) {
  EXPECT_EQ(types_of("  %n = call_method size(%x, 0)\n"
                     "  %a = call_method add(%n, 1)\n"
                     "  %s = call_method size(%x)\n"
                     "  %b = call_method count(%s, 1)\n"),
            "n:number a:number s:size b:number");
}

}  // namespace
}  // namespace modulize
