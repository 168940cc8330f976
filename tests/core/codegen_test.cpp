// The source that the generator writes, compared whole.
#include "codegen/codegen.h"

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "support/error.h"
#include "support/identifier.h"

namespace modulize {
namespace {

std::string source(const std::string& body, ModuleAccess access = ModuleAccess::attribute) {
  CodegenOptions options;
  options.access = access;
  return generate(parse("graph net {\n" + body + "\n}"), options).text();
}

/// The lines below the signature of a forward(self, x).
std::string lines(const std::string& body, ModuleAccess access = ModuleAccess::attribute) {
  const std::string text = source("%x: tensor = placeholder x\n" + body, access);
  const std::string head = "def forward(self, x):\n";
  EXPECT_EQ(text.substr(0, head.size()), head);
  std::string out;
  std::size_t at = head.size();
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    out += text.substr(at + 4, end - at - 4) + "\n";
    at = end + 1;
  }
  return out;
}

/// The expression that `node` is written as, for a node that takes %x and %y.
std::string expression(const std::string& node) {
  const std::string text = source("%x = placeholder x\n%y = placeholder y\n%r = " + node + "\noutput (%r, %x, %y)");
  const std::string head = "def forward(self, x, y):\n    r = ";
  EXPECT_EQ(text.substr(0, head.size()), head);
  return text.substr(head.size(), text.find('\n', head.size()) - head.size());
}

TEST(Codegen, ChainKeepsOneVariable) {
  EXPECT_EQ(lines("%a: tensor = call_module conv1(%x)\n"
                  "%b: tensor = call_function torch.relu(%a)\n"
                  "%c: tensor = call_method view(%b, -1)\n"
                  "output %c"),
            "x = self.conv1(x)\n"
            "x = torch.relu(x)\n"
            "x = x.view(-1)\n"
            "return x\n");
}

TEST(Codegen, NumbersStandWhereTheyAreRead) {
  EXPECT_EQ(lines("%m: number = call_method ndimension(%x)\n"
                  "%n: number = call_function math.sqrt(%m)\n"
                  "%a: tensor = call_method mul(%x, %n)\n"
                  "output %a"),
            "x = x.mul(math.sqrt(x.ndimension()))\n"
            "return x\n");
  EXPECT_EQ(lines("%m: number = call_function builtins.getattr(%x, 'is_sparse')\n"
                  "%a: tensor = call_method mul(%x, %m)\n"
                  "output %a"),
            "x = x.mul(x.is_sparse)\n"
            "return x\n");
}

TEST(Codegen, RowOfChildrenRunsAsALoop) {
  const std::string body =
      "%a: tensor = call_module b.conv1(%x)\n"
      "%b: tensor = call_module b.bn1(%a)\n"
      "%c: tensor = call_module b.relu(%b)\n"
      "%d: tensor = call_module b.conv2(%c, 2)\n"  // takes more than the result before it
      "%e: tensor = call_module b.bn2(%d)\n"
      "%f: tensor = call_module b.relu2(%e)\n"
      "%g: tensor = call_module c.conv3(%f)\n"  // another parent
      "output (%g, %x)";
  EXPECT_EQ(lines(body, ModuleAccess::lookup),
            "modules = self._modules\n"
            "b = modules[\"b\"]._modules\n"
            "conv1 = b[\"conv1\"](x)\n"
            "conv1 = b[\"bn1\"](conv1)\n"
            "conv1 = b[\"relu\"](conv1)\n"
            "conv1 = b[\"conv2\"](conv1, 2)\n"
            "conv1 = b[\"bn2\"](conv1)\n"
            "conv1 = b[\"relu2\"](conv1)\n"
            "conv1 = modules[\"c\"]._modules[\"conv3\"](conv1)\n"
            "return (conv1, x)\n");
  EXPECT_EQ(lines("%a: tensor = call_module conv1(%x)\n"
                  "%b: tensor = call_module bn1(%a)\n"
                  "%c: tensor = call_module relu(%b)\n"
                  "output %c",
                  ModuleAccess::lookup),
            "modules = self._modules\n"
            "for name in (\"conv1\", \"bn1\", \"relu\"):\n"
            "    x = modules[name](x)\n"
            "return x\n");
}

TEST(Codegen, LoopVariableHasANameOfItsOwn) {
  EXPECT_EQ(source("%name: tensor = placeholder name\n"
                   "%a: tensor = call_module conv1(%name)\n"
                   "%b: tensor = call_module bn1(%a)\n"
                   "%c: tensor = call_module relu(%b)\n"
                   "output %c",
                   ModuleAccess::lookup),
            "def forward(self, name):\n"
            "    modules = self._modules\n"
            "    for name_1 in (\"conv1\", \"bn1\", \"relu\"):\n"
            "        name = modules[name_1](name)\n"
            "    return name\n");
}

TEST(Codegen, ResultOfSeveralTakesTheOldestVariable) {
  EXPECT_EQ(lines("%a: tensor = call_module conv1(%x)\n"
                  "%b: tensor = call_module conv2(%a)\n"
                  "%c: tensor = call_function torch.add(%b, %a)\n"
                  "%d: tensor = call_module conv3(%c)\n"
                  "%e: tensor = call_function torch.add(%d, %c)\n"
                  "output %e"),
            "x = self.conv1(x)\n"
            "conv2 = self.conv2(x)\n"
            "x = torch.add(conv2, x)\n"
            "conv2 = self.conv3(x)\n"
            "x = torch.add(conv2, x)\n"
            "return x\n");
}

TEST(Codegen, DeadTensorIsDeletedWhereItsVariableStaysIdle) {
  std::string body =
      "%a: tensor = call_module conv1(%x)\n%b: tensor = call_module conv2(%a)\n"
      "%c: tensor = call_function torch.add(%b, %a)\n";
  std::string last = "c";
  for (const std::string next : {"d", "e", "f", "g"}) {
    body += "%" + next + ": tensor = call_function torch.relu(%" + last + ")\n";
    last = next;
  }
  EXPECT_EQ(lines(body + "output %g"),
            "x = self.conv1(x)\n"
            "conv2 = self.conv2(x)\n"
            "x = torch.add(conv2, x)\n"
            "del conv2\n"
            "x = torch.relu(x)\n"
            "x = torch.relu(x)\n"
            "x = torch.relu(x)\n"
            "x = torch.relu(x)\n"
            "return x\n");
}

TEST(Codegen, ResultThatNobodyReadsIsNotAssigned) {
  EXPECT_EQ(lines("%a: tensor = call_method add_(%x, 1)\n"
                  "%b = call_function operator.setitem(%x, (0, slice(None, 2, None)), 1.5)\n"
                  "%c = call_function operator.delitem(%x, 0)\n"
                  "output %x"),
            "x.add_(1)\n"
            "x[0, :2] = 1.5\n"
            "del x[0]\n"
            "return x\n");
}

TEST(Codegen, InPlaceOperatorIsAStatementOnlyWhereTheOperandEnds) {
  EXPECT_EQ(lines("%a: tensor = call_function operator.iadd(%x, 1)\noutput %a"), "x += 1\nreturn x\n");
  EXPECT_EQ(lines("%a: tensor = call_function operator.iadd(%x, 1)\noutput (%a, %x)"),
            "a = operator.iadd(x, 1)\nreturn (a, x)\n");
}

TEST(Codegen, ShapesStandWhereTheyAreUsed) {
  EXPECT_EQ(lines("%s: size = call_function builtins.getattr(%x, \"shape\")\n"
                  "%n: number = call_function operator.getitem(%s, 0)\n"
                  "%m: number = call_function operator.floordiv(%n, 2)\n"
                  "%v: tensor = call_method view(%x, %m, -1)\n"
                  "output %v"),
            "x = x.view(x.shape[0] // 2, -1)\nreturn x\n");
}

TEST(Codegen, ShapeIsReadBeforeWhatMayChangeIt) {
  EXPECT_EQ(lines("%n: number = call_method size(%x, 0)\n"
                  "%r = call_method resize_(%x, 3)\n"
                  "%v: tensor = call_method add(%x, %n)\n"
                  "output %v"),
            "n = x.size(0)\nx.resize_(3)\nx = x.add(n)\nreturn x\n");
}

TEST(Codegen, NumberUsedTwiceHasAName) {
  EXPECT_EQ(lines("%n: number = call_method size(%x, 0)\n"
                  "%v: tensor = call_method view(%x, %n, %n)\n"
                  "output %v"),
            "n = x.size(0)\nx = x.view(n, n)\nreturn x\n");
}

TEST(Codegen, AttributesOfModulesAreReadWhereTheyAreUsed) {
  const std::string body =
      "%w: tensor = get_attr fc.weight\n"
      "%t = get_attr drop.training\n"
      "%y: tensor = call_function torch.nn.functional.linear(%x, %w)\n"
      "%z: tensor = call_function torch.nn.functional.dropout(%y, 0.5, %t)\n"
      "output %z";
  EXPECT_EQ(lines(body),
            "training = self.drop.training\n"
            "x = torch.nn.functional.linear(x, self.fc.weight)\n"
            "x = torch.nn.functional.dropout(x, 0.5, training)\n"
            "return x\n");
  EXPECT_EQ(lines(body, ModuleAccess::lookup),
            "modules = self._modules\n"
            "training = modules[\"drop\"].training\n"
            "x = torch.nn.functional.linear(x, modules[\"fc\"].weight)\n"
            "x = torch.nn.functional.dropout(x, 0.5, training)\n"
            "return x\n");
}

TEST(Codegen, PrefixesAreLookedUpOnce) {
  EXPECT_EQ(lines("%a: tensor = call_module layer1.0.conv(%x)\n"
                  "%b: tensor = call_module layer1.0.relu(%a)\n"
                  "%c: tensor = call_module layer1.1.conv(%b)\n"
                  "%d: tensor = call_module fc(%c)\n"
                  "output %d",
                  ModuleAccess::lookup),
            "modules = self._modules\n"
            "layer1 = modules[\"layer1\"]._modules\n"
            "layer1_0 = layer1[\"0\"]._modules\n"
            "x = layer1_0[\"conv\"](x)\n"
            "x = layer1_0[\"relu\"](x)\n"
            "x = layer1[\"1\"]._modules[\"conv\"](x)\n"
            "x = modules[\"fc\"](x)\n"
            "return x\n");
}

TEST(Codegen, Operators) {
  const std::pair<const char*, const char*> cases[] = {
      {"call_function operator.add(%x, %y)", "x + y"},
      {"call_function operator.neg(%x)", "-x"},
      {"call_function operator.neg(-1)", "-(-1)"},
      {"call_function operator.pow(-1, %y)", "(-1) ** y"},
      {"call_function operator.pow(%x, -1)", "x ** -1"},
      {"call_function operator.add(%x, y=1)", "operator.add(x, y=1)"},
      {"call_function operator.matmul(%x, %y)", "x @ y"},
      {"call_function operator.is_(%x, None)", "x is None"},
      {"call_function operator.not_(%x)", "operator.not_(x)"},
      {"call_function operator.getitem(%x, 0)", "x[0]"},
      {"call_function operator.getitem(%x, (%y, ..., slice(1, None, 2)))", "x[y, ..., 1::2]"},
      {"call_function operator.getitem(%x, (slice(None, None, None),))", "x[:,]"},
      {"call_function operator.getitem(%x, ())", "x[()]"},
      {"call_function operator.getitem(%x, [slice(0, 1, None)])", "x[[slice(0, 1, None)]]"},
      {"call_method __rsub__(%x, 1)", "1 - x"},
      {"call_method __rsub__(%x, %y)", "x.__rsub__(y)"},
      {"call_function builtins.getattr(%x, \"T\")", "x.T"},
      {"call_function builtins.getattr(%x, \"a b\")", "getattr(x, 'a b')"},
      {"call_function builtins.getattr(%x, \"class\")", "getattr(x, 'class')"},
      {"call_function builtins.getattr(%x, \"a\", 1)", "getattr(x, 'a', 1)"},
      {"call_function builtins.len(%x)", "len(x)"},
      {"call_function builtins.no_builtin(%x)", "builtins.no_builtin(x)"},
      {"call_method foo(1, %x)", "(1).foo(x)"},
      {"call_function f(%x, \"a b\"=1, k=2)", "f(x, k=2, **{'a b': 1})"},
      {"call_function @7:\"<f>\"(%x)", "_object_7(x)"},
      {"call_function torch.where(%x, float(\"inf\"), float(\"nan\"))",
       "torch.where(x, float(\"inf\"), float(\"nan\"))"},
      {"call_function torch.full((1,), -0.0, dtype=torch.float32)", "torch.full((1,), -0.0, dtype=torch.float32)"},
      {"call_function torch.cat([%x, %y], {'a': (%x,)})", "torch.cat([x, y], {'a': (x,)})"},
  };
  for (const auto& [node, expected] : cases) EXPECT_EQ(expression(node), expected) << node;
}

TEST(Codegen, NestedOperatorsHaveTheParenthesesTheyNeed) {
  EXPECT_EQ(lines("%a: number = call_method size(%x, 0)\n"
                  "%b: number = call_function operator.sub(%a, 1)\n"
                  "%c: number = call_function operator.sub(2, %b)\n"
                  "%d: number = call_function operator.mul(%c, 3)\n"
                  "%v: tensor = call_method view(%x, %d)\n"
                  "output %v"),
            "x = x.view((2 - (x.size(0) - 1)) * 3)\nreturn x\n");
}

TEST(Codegen, Signature) {
  EXPECT_EQ(source("%a = placeholder a positional_only\n%b = placeholder b default 1\n%c = placeholder *c\n"
                   "%k = placeholder k keyword_only\n%m = placeholder **m\noutput None"),
            "def forward(self, a, /, b=1, *c, k, **m):\n    return None\n");
  EXPECT_EQ(source("%a = placeholder a\n%k = placeholder k default torch.float32 keyword_only\noutput None"),
            "def forward(self, a, *, k=torch.float32):\n    return None\n");
}

TEST(Codegen, OptionIsNotOverwritten) {
  EXPECT_EQ(source("%x = placeholder x\n%flag = placeholder flag default False\n"
                   "%a = call_function f(%flag)\n%b = call_function g(%a, %x)\noutput %b"),
            "def forward(self, x, flag=False):\n    a = f(flag)\n    x = g(a, x)\n    return x\n");
}

TEST(Codegen, ParameterThatHidesAGlobal) {
  const Graph graph = parse(
      "graph net {\n%torch = placeholder torch\n%len = placeholder len\n%a = call_function torch.relu(%torch)\n"
      "%n: number = call_function builtins.len(%len)\noutput (%a, %n)\n}");
  const GeneratedSource source = generate(graph, {ModuleAccess::attribute});
  EXPECT_EQ(source.text(),
            "def forward(self, torch, len):\n    torch = _global_torch.relu(torch)\n"
            "    return (torch, _global_len(len))\n");
  const std::vector<std::pair<std::string, std::string>> aliases = {{"_global_len", "builtins.len"},
                                                                    {"_global_torch", "torch"}};
  EXPECT_EQ(source.aliases, aliases);
}

TEST(Codegen, NamespaceIsListed) {
  const Graph graph = parse(
      "graph net {\n%x = placeholder x default @3:\"<o>\"\n%a = call_function torch.nn.functional.relu(%x)\n"
      "%b = call_function @7:\"<f>\"(%a, operator.add)\n%c = call_function math.floor(%b)\noutput %c\n}");
  const GeneratedSource source = generate(graph, {});
  EXPECT_EQ(source.imports, (std::vector<std::string>{"math", "operator", "torch"}));
  EXPECT_EQ(source.names, (std::vector<std::string>{"math.floor", "operator.add", "torch.nn.functional.relu"}));
  const std::vector<std::pair<std::string, ObjectId>> objects = {{"_object_3", 3}, {"_object_7", 7}};
  EXPECT_EQ(source.objects, objects);
}

TEST(Codegen, HostileTextIsQuoted) {
  const std::string evil = "x\\\"]; import os; [\\\"";
  EXPECT_EQ(lines("%a: tensor = call_module \"" + evil + "\"(%x)\noutput %a", ModuleAccess::lookup),
            "x = self._modules[\"x\\\"]; import os; [\\\"\"](x)\nreturn x\n");
  EXPECT_EQ(lines("%a: tensor = call_module \"" + evil + ".b\"(%x)\noutput %a"),
            "x = getattr(self, 'x\"]; import os; [\"').b(x)\nreturn x\n");
}

TEST(Codegen, WhatCannotBeSpelledIsAnError) {
  EXPECT_THROW(source("%x = placeholder \"a b\"\noutput %x"), Error);
  EXPECT_THROW(source("%x = placeholder x\n%y = call_function \"a b.c\"(%x)\noutput %y"), Error);
  EXPECT_THROW(source("%x = placeholder x\n%y = call_method f()\noutput %y"), Error);
}

TEST(Codegen, LongProgramIsCutWhereFewValuesLive) {
  std::string body = "%x = placeholder x\n%y = placeholder y default 1\n";
  for (int i = 0; i < 6; ++i)
    body += "%n" + std::to_string(i) + ": tensor = call_function f(%" + (i ? "n" + std::to_string(i - 1) : "x") + ")\n";
  body += "%last: tensor = call_function g(%n5, %y)\noutput %last";
  CodegenOptions options;
  options.chunk_lines = 3;
  const GeneratedSource source = generate(parse("graph net {\n" + body + "\n}"), options);
  ASSERT_EQ(source.pieces.size(), 4u);
  EXPECT_EQ(source.pieces[0],
            "def _forward_1(self, x, y):\n    x = f(x)\n    x = f(x)\n    x = f(x)\n    return y, x\n");
  EXPECT_EQ(source.pieces[1],
            "def _forward_2(self, y, x):\n    x = f(x)\n    x = f(x)\n    x = f(x)\n    return y, x\n");
  EXPECT_EQ(source.pieces[2], "def _forward_3(self, y, x):\n    x = g(x, y)\n    return x\n");
  EXPECT_EQ(source.pieces[3],
            "def forward(self, x, y=1):\n"
            "    y, x = _forward_1(self, x, y)\n"
            "    y, x = _forward_2(self, y, x)\n"
            "    return _forward_3(self, y, x)\n");
}

TEST(Codegen, TreeQueriesChooseTheSpelling) {
  CodegenOptions options;
  options.access = ModuleAccess::attribute;
  options.tree.is_index = [](std::string_view path) { return path == "layer1.0"; };
  options.tree.is_attribute = [](std::string_view path) { return path != "train"; };
  options.tree.is_module = [](std::string_view path) { return path != "config"; };
  const Graph graph = parse(
      "graph net {\n%x = placeholder x\n%a = call_module layer1.0.conv(%x)\n%b = call_module layer1.1(%a)\n"
      "%c = call_module train(%b)\n%d = get_attr config.scale\n%e = call_function f(%c, %d)\noutput %e\n}");
  EXPECT_EQ(generate(graph, options).text(),
            "def forward(self, x):\n"
            "    x = self.layer1[0].conv(x)\n"
            "    x = getattr(self.layer1, '1')(x)\n"
            "    x = self._modules[\"train\"](x)\n"
            "    x = f(x, self.config.scale)\n"
            "    return x\n");
}

TEST(Identifiers, PlainOnesAreAsciiAndNoKeywords) {
  for (const char* name : {"a", "_", "a1", "match", "print", "Conv2d"}) EXPECT_TRUE(is_plain_identifier(name)) << name;
  for (const char* name : {"", "1a", "a b", "a.b", "class", "None", "async", "gr\u00f6\u00dfe", "a\n"})
    EXPECT_FALSE(is_plain_identifier(name)) << name;
  EXPECT_TRUE(is_parameter_name("gr\u00f6\u00dfe"));
  EXPECT_FALSE(is_parameter_name("a b"));
  EXPECT_FALSE(is_parameter_name("lambda"));
  EXPECT_TRUE(is_builtin("len"));
  EXPECT_FALSE(is_builtin("torch"));
}

}  // namespace
}  // namespace modulize
