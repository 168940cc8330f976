// Printer and parser together: what is printed reads back as the same text, and what is wrong is told with its place.
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <random>

#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "support/error.h"
#include "support/python_repr.h"

namespace modulize {
namespace {

void expect_round_trip(const Graph& graph) {
  const std::string text = print(graph);
  std::string again;
  try {
    again = print(parse(text));
  } catch (const Error& e) {
    FAIL() << e.what() << "\n" << text;
  }
  EXPECT_EQ(again, text);
}

Graph graph_of(Value value) {
  Graph g;
  Node output;
  output.op = Opcode::output;
  output.args = {std::move(value)};
  g.add(std::move(output));
  return g;
}

// `value` in the text form, having checked that it reads back as an equal value.
std::string round_trip(const Value& value) {
  const Graph g = graph_of(value);
  const std::string text = print_value(g, value);
  try {
    const Graph back = parse(print(g));
    EXPECT_EQ(back[back.output()].args[0], value) << text;
  } catch (const Error& e) {
    ADD_FAILURE() << e.what() << " in " << print(g);
  }
  return text;
}

TEST(TextForm, every_kind_of_value_reads_back) {
  const double inf = std::numeric_limits<double>::infinity();
  const std::pair<Value, const char*> table[] = {
      {Value::none(), "None"},
      {Value::boolean(true), "True"},
      {Value::boolean(false), "False"},
      {Value::integer(-5), "-5"},
      {Value::integer(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808"},
      {Value::floating(1e16), "1e+16"},
      {Value::floating(-0.0), "-0.0"},
      {Value::floating(inf), "float(\"inf\")"},
      {Value::floating(-inf), "float(\"-inf\")"},
      {Value::floating(std::numeric_limits<double>::quiet_NaN()), "float(\"nan\")"},
      {Value::floating(5e-324), "5e-324"},
      {Value::ellipsis(), "..."},
      {Value::object(7, "<function f>"), "@7:\"<function f>\""},
      {Value::object(4294967295u, ""), "@4294967295"},
      {Value::object(1, "a \"quoted\"\nlabel"), "@1:\"a \\\"quoted\\\"\\nlabel\""},
      {Value::string("it's"), "\"it's\""},
      {Value::string(std::string("\0\n\xed\xa0\x80\xf0\x9f\x98\x80", 9)), "'\\x00\\n\\ud800\xf0\x9f\x98\x80'"},
      {Value::name("torch.float32"), "torch.float32"},
      {Value::name("slice"), "slice"},
      {Value::name("float"), "float"},
      {Value::name("None"), "name(\"None\")"},
      {Value::name("a.<locals>.b"), "name(\"a.<locals>.b\")"},
      {Value::name(""), "name(\"\")"},
      {Value::tuple({}), "()"},
      {Value::tuple({Value::integer(1)}), "(1,)"},
      {Value::tuple({Value::integer(1), Value::integer(2)}), "(1, 2)"},
      {Value::list({}), "[]"},
      {Value::list({Value::list({Value::none()})}), "[[None]]"},
      {Value::dict({}), "{}"},
      {Value::dict({{Value::object(1, ""), Value::string("x")}, {Value::tuple({}), Value::ellipsis()}}),
       "{@1: 'x', (): ...}"},
      {Value::slice({}, Value::integer(-1), {}), "slice(None, -1, None)"},
  };
  for (const auto& [value, text] : table) EXPECT_EQ(round_trip(value), text);
}

TEST(TextForm, bytes_that_are_not_utf8_are_printed_as_python_would_escape_them) {
  EXPECT_EQ(print_value(Graph(), Value::string("\xff")), "'\\udcff'");
  expect_round_trip(graph_of(Value::string("a\xff\xc3z")));
}

const std::string kHostile[] = {"",
                                "a b",
                                "1",
                                "a..b",
                                "\"",
                                "'",
                                "\\",
                                "\n",
                                "// x",
                                "<locals>",
                                "in",
                                "at",
                                "for",
                                "graph",
                                "copy",
                                "existing",
                                "output",
                                "default",
                                "None",
                                "\xff",
                                "\xc3\xa9",
                                "x=1",
                                "a.b",
                                "%x",
                                "@1",
                                "*a",
                                "{",
                                "training",
                                "adopt",
                                "positional_only",
                                std::string("\0", 1)};

TEST(TextForm, hostile_names_are_quoted_everywhere) {
  for (const std::string& text : kHostile) {
    Graph g;
    g.name = text;
    g.modules.add({.path = text, .kind = ModuleKind::existing, .type = text, .base = text});
    ModuleSpec made{.path = "made" + text, .kind = ModuleKind::constructed, .type = text};
    made.kwargs = {{text, Value::string(text)}};
    made.adopts = {{text, text}};
    g.modules.add(made);
    g.modules.add({.path = "copy" + text, .kind = ModuleKind::copy, .copy_of = text});
    g.modules.add_tensor({.path = "tensor" + text, .dtype = text});
    g.modules.add_taken("taken" + text);
    Node node;
    node.op = Opcode::placeholder;
    node.target = text;
    node.name = text.empty() ? "empty" : text;
    node.args = {Value::name(text)};
    const NodeId x = g.add(node);
    g.parameter_kinds = {ParameterKind::keyword_only};
    for (const Opcode op : {Opcode::get_attr, Opcode::call_function, Opcode::call_method, Opcode::call_module}) {
      node = Node{};
      node.op = op;
      node.target = text;
      if (op != Opcode::get_attr) {
        node.args = {Value::node(x), Value::object(3, text)};
        node.kwargs = {{text, Value::string(text)}};
      }
      node.scope = g.add_scope({.path = text, .call = 1});
      node.source = g.add_source(text, -3);
      g.add(node);
    }
    node = Node{};
    node.op = Opcode::output;
    node.args = {Value::dict({{Value::string(text), Value::node(x)}})};
    g.add(node);
    expect_round_trip(g);
  }
}

TEST(TextForm, parameter_kinds_and_defaults_read_back) {
  const std::string text =
      "graph net {\n"
      "  %a = placeholder a positional_only\n"
      "  %b = placeholder b default None\n"
      "  %c = placeholder *c\n"
      "  %d = placeholder d default (1, 2) keyword_only\n"
      "  %e = placeholder **e\n"
      "  output None\n"
      "}\n";
  const Graph g = parse(text);
  EXPECT_EQ(print(g), text);
  EXPECT_EQ(g.parameter_kinds,
            (std::vector<ParameterKind>{ParameterKind::positional_only, ParameterKind::positional_or_keyword,
                                        ParameterKind::var_positional, ParameterKind::keyword_only,
                                        ParameterKind::var_keyword}));
  EXPECT_EQ(g[3].args[0], Value::tuple({Value::integer(1), Value::integer(2)}));
}

TEST(TextForm, scopes_read_back_with_their_parents) {
  const Graph g = parse(
      "graph net {\n"
      "  %x = placeholder x\n"
      "  %a = call_method relu(%x) in layer1.0#1 of layer1#1 of other\n"
      "  %b = call_method relu(%x) in layer1.1\n"
      "  output %a\n}\n");
  const Scope& inner = g.scope(g[1].scope);
  EXPECT_EQ(inner.path, "layer1.0");
  EXPECT_EQ(inner.call, 1u);
  const Scope& outer = g.scope(inner.parent);
  EXPECT_EQ(outer.path, "layer1");
  EXPECT_EQ(outer.call, 1u);
  EXPECT_EQ(g.scope(outer.parent).path, "other");
  EXPECT_EQ(g.scope(outer.parent).parent, kRootScope);
  // The nearest enclosing scope that was met stands for the parent where none is given.
  EXPECT_EQ(g.scope(g[2].scope).parent, inner.parent);
}

// Random scope trees: the printer must write a parent exactly where the parser would not find it.
TEST(TextForm, random_scope_trees_read_back) {
  std::mt19937 random(7);
  const char* const parts[] = {"a", "b", "a.b", "a.b.c", "", "c.a"};
  for (int round = 0; round < 500; ++round) {
    Graph g;
    for (std::uint32_t i = 0; i < 12; ++i)
      g.add_scope({parts[random() % 6], i + 1, static_cast<ScopeId>(random() % (i + 1))});
    Node node;
    node.target = "f";
    for (int i = 0; i < 10; ++i) {
      node.scope = random() % 13;
      g.add(node);
    }
    const Graph back = parse(print(g));
    ASSERT_EQ(print(back), print(g));
    NodeId id = 0;
    for (const NodeId b : back.order()) {
      ScopeId theirs = back[b].scope, ours = g[id++].scope;
      for (;; theirs = back.scope(theirs).parent, ours = g.scope(ours).parent) {
        ASSERT_EQ(back.scope(theirs).path, g.scope(ours).path) << print(g);
        ASSERT_EQ(back.scope(theirs).call, g.scope(ours).call) << print(g);
        if (ours == kRootScope) break;
      }
    }
  }
}

TEST(TextForm, graphs_nest) {
  const std::string text =
      "graph net {\n"
      "  module side = graph inner {\n"
      "    module deeper = graph \"a b\" {\n"
      "      %x = placeholder x\n"
      "      output %x\n"
      "    }\n"
      "    %x = placeholder x\n"
      "    %y = call_module deeper(%x)\n"
      "    output %y\n"
      "  } for side\n"
      "  %x = placeholder x\n"
      "  %y = call_module side(%x) in block\n"
      "  output %y\n"
      "}\n";
  EXPECT_EQ(print(parse(text)), text);
}

TEST(TextForm, broken_graphs_print_without_a_crash) {
  Graph g;
  Node node;
  node.target = "f";
  const NodeId a = g.add(node);
  node.args = {Value::node(a), Value::node(99), Value::node(kNoNode)};
  node.scope = 17;
  node.source = 23;
  node.callee = Value::integer(3);
  g.add(node);
  g.erase(a);
  g.modules.add({.path = "side", .kind = ModuleKind::graph});
  Node output;
  output.op = Opcode::output;
  g.add(output);
  EXPECT_EQ(print(g),
            "graph net {\n"
            "  module side = graph <null>\n"
            "  %f_1 = call_function 3(%<dead 0>, %<dead 99>, %<dead 4294967295>) in <no scope 17>\n"
            "  output \n"
            "}\n");
}

std::string parse_error(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::ParseError);
    return e.what();
  }
  return "no error";
}

TEST(Parser, errors_say_where_what_was_expected_and_what_stands_there) {
  const std::pair<const char*, const char*> table[] = {
      {"", "1:1: expected 'graph', found the end of the text"},
      {"  grph net {}", "1:3: expected 'graph', found 'grph'"},
      {"graph {", "1:7: expected the name of the graph, found '{'"},
      {"graph net {",
       "1:12: expected a node, 'output', 'module', 'parameter', 'buffer', 'constant', 'taken' or '}', found the end of "
       "the text"},
      {"graph net {} x", "1:14: expected the end of the text, found 'x'"},
      {"graph net {\n  conv\n}",
       "2:3: expected a node, 'output', 'module', 'parameter', 'buffer', 'constant', 'taken' or '}', found 'conv'"},
      {"graph net {\n  output None\n  module m = existing T\n}",
       "3:3: expected a node, 'output' or '}', found 'module'"},
      {"graph net {\n  %x = placeholder\n}", "2:19: expected a parameter's name, found the end of the line"},
      {"graph net {\n  %x = call_modul f()\n}",
       "2:8: expected an opcode (placeholder, get_attr, call_function, call_method, call_module), found 'call_modul'"},
      {"graph net {\n  %x placeholder x\n}", "2:6: expected '=' or ':', found 'placeholder'"},
      {"graph net {\n  %x: tensr = placeholder x\n}",
       "2:7: expected a type (tensor, number, size, other, unknown), found 'tensr'"},
      {"graph net {\n  %x = placeholder x y\n}", "2:22: expected the end of the line, found 'y'"},
      {"graph net {\n  %x = call_function f(%y)\n}", "2:24: expected a node defined above, found '%y'"},
      {"graph net {\n  %x = call_function f(%x)\n}", "2:24: expected a node defined above, found '%x'"},
      {"graph net {\n  %x = placeholder x\n  %x = placeholder y\n}",
       "3:3: expected a new name (this one is defined above), found '%x'"},
      {"graph net {\n  %x = call_function f(1 2)\n}", "2:26: expected ',' or ')', found '2'"},
      {"graph net {\n  %x = call_function f(a=1, 2)\n}", "2:29: expected a keyword argument (`key=value`), found '2'"},
      {"graph net {\n  %x = call_function f(\n", "3:1: expected a value, found the end of the text"},
      {"graph net {\n  output (1)\n}", "2:12: expected ',' (a tuple of one item is `(x,)`), found ')'"},
      {"graph net {\n  output {1, 2}\n}", "2:12: expected ':', found ','"},
      {"graph net {\n  output [1\n}", "3:1: expected ',' or ']', found '}'"},
      {"graph net {\n  output ..\n}", "2:10: expected a value, found '..'"},
      {"graph net {\n  output torch.\n}", "2:10: expected a qualified name such as torch.float32, found 'torch.'"},
      {"graph net {\n  output 9223372036854775808\n}",
       "2:10: expected an integer of 64 bits, found '9223372036854775808'"},
      {"graph net {\n  output 1e999\n}", "2:10: expected a float within the range of doubles, found '1e999'"},
      {"graph net {\n  output -\n}", "2:10: expected an integer of 64 bits, found '-'"},
      {"graph net {\n  output float(\"big\")\n}", "2:16: expected \"inf\", \"-inf\" or \"nan\", found '\"'"},
      {"graph net {\n  output slice(1)\n}", "2:10: expected three values in slice(...), found 1"},
      {"graph net {\n  output @x\n}", "2:11: expected the number of an object, found 'x'"},
      {"graph net {\n  output @4294967296\n}",
       "2:11: expected the number of an object, of 32 bits, found '4294967296'"},
      {"graph net {\n  output 'a\n}", "2:10: this text has no closing quote on its line"},
      {"graph net {\n  output '\\q'\n}",
       "2:11: expected an escape (\\n \\r \\t \\\\ \\' \\\" \\xHH \\uHHHH \\UHHHHHHHH), found another"},
      {"graph net {\n  output '\\x4'\n}", "2:11: expected 2 hexadecimal digits of a code point in this escape"},
      {"graph net {\n  output '\\U00110000'\n}", "2:11: expected 8 hexadecimal digits of a code point in this escape"},
      {"graph net {\n  output '\xff'\n}", "2:11: expected text in UTF-8, found '\\udcff'"},
      {"graph net {\n  output '\xc3\xa9', 1\n}", "2:13: expected the end of the line, found ','"},
      {"graph net {\n  module m = existing A\n  module m = existing A\n}",
       "3:10: the path 'm' is declared above already"},
      {"graph net {\n  taken m\n  parameter m: float32[]\n}", "3:13: the path 'm' is declared above already"},
      {"graph net {\n  module m = A\n}", "2:15: expected '(', found the end of the line"},
      {"graph net {\n  parameter w: float32[2, x]\n}", "2:27: expected a size of 64 bits, found 'x'"},
      {"graph net {\n  %x = placeholder x at net.py:3\n}", "2:25: expected a quoted file name, found 'net.py'"},
      {"graph net {\n  %x = placeholder x at \"f\":999999999999\n}",
       "2:29: expected a line number, found '999999999999'"},
      {"graph net {\n  %x = placeholder x in a of b\n  %y = placeholder y in a of c\n}",
       "3:25: this scope has another parent above"},
      {"graph net {\n  %x = placeholder x in a#-1\n}", "2:27: expected a call number of 32 bits, found '-'"},
  };
  for (const auto& [text, message] : table) EXPECT_EQ(parse_error(text), message) << text;
}

std::string repeated(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Parser, nesting_is_bounded) {
  const auto nest = [](int depth) {
    return "graph net {\n  output " + repeated("[", depth) + repeated("]", depth) + "\n}\n";
  };
  EXPECT_NO_THROW(verify(parse(nest(kMaxValueDepth))));
  EXPECT_EQ(parse_error(nest(kMaxValueDepth + 2)), "2:111: values nest more than 100 deep here");
  EXPECT_NE(parse_error(nest(1000000)), "no error");
  EXPECT_NE(parse_error("graph net {\n  output " + repeated("{", 1000000)), "no error");
  EXPECT_NE(parse_error("graph net {\n  output " + repeated("slice(", 1000000)), "no error");
  const std::string open = "graph g {\nmodule m = ";
  EXPECT_EQ(parse_error(repeated(open, 100000)), "52:12: graphs nest more than 50 deep here");
}

// Every truncation and thousands of mutations of a text that has everything: an Error or a graph, never a crash; and
// whatever parses prints to a fixed point.
TEST(Parser, survives_any_bytes) {
  const std::string seed =
      "graph net {\n"
      "  module \"a b\" = existing \"x.<locals>.Y\" training\n"
      "  module m = torch.nn.Conv2d(3, (1, 2), k=float(\"inf\")) for conv adopt weight=w, \"b\"=w\n"
      "  module n = copy m for m\n"
      "  module s = graph inner {\n    %x = placeholder *x\n    output (%x,)\n  } for s\n"
      "  parameter w: float32[1, 2]\n  taken t  // comment\n"
      "  %x: tensor = placeholder x default {1: [None, ...]} keyword_only\n"
      "  %y: size = call_function @7:\"<f>\"(%x, 'a\\u00e9\\n', slice(1, -2.5e-7, name(\"None\"))) in a.b#1 of a#2 of "
      "\"\" "
      "at \"net.py\":12\n"
      "  output %y\n}\n";
  ASSERT_EQ(parse_error(seed), "no error");
  const auto survives = [](const std::string& text) {
    try {
      const std::string once = print(parse(text));
      EXPECT_EQ(print(parse(once)), once);
      return true;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::ParseError);
      return false;
    }
  };
  for (std::size_t n = 0; n < seed.size(); ++n) survives(seed.substr(0, n));
  std::mt19937 random(1);
  const std::string_view alphabet = "%@(){}[]\"'\\,:=.#*/ \n0a-\xff\xc3";
  int parsed = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = seed;
    for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text.erase(at, 1 + random() % 5);
          break;
        case 1:
          text.insert(at, 1, alphabet[random() % alphabet.size()]);
          break;
        case 2:
          text[at] = static_cast<char>(random());
          break;
        default:
          text.insert(at, seed.substr(random() % seed.size(), random() % 20));
      }
      if (text.empty()) text = " ";
    }
    parsed += survives(text);
  }
  EXPECT_GT(parsed, 100);
}

std::string long_chain(int nodes) {
  std::string text =
      "graph net {\n  module relu = existing torch.nn.ReLU\n  %x: tensor = placeholder x\n  %n0: tensor = call_module "
      "relu(%x)\n";
  for (int i = 1; i < nodes; ++i) {
    const std::string n = std::to_string(i);
    text += "  %n" + n + ": tensor = call_function torch.nn.functional.leaky_relu(%n" + std::to_string(i - 1) +
            ", 0.2, inplace=False) in layer" + std::to_string(i / 100) + ".0 at \"net.py\":" + n + "\n";
  }
  return text + "  output %n" + std::to_string(nodes - 1) + "\n}\n";
}

TEST(TextForm, a_hundred_thousand_nodes_read_and_print_fast) {
  const std::string text = long_chain(100000);
  const auto start = std::chrono::steady_clock::now();
  const Graph g = parse(text);
  const auto parsed = std::chrono::steady_clock::now();
  const std::string printed = print(g);
  const auto done = std::chrono::steady_clock::now();
  verify(g);
  const auto verified = std::chrono::steady_clock::now();
  const auto ms = [](auto d) {
    return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
  };
  RecordProperty("parse_ms", ms(parsed - start));
  RecordProperty("print_ms", ms(done - parsed));
  RecordProperty("verify_ms", ms(verified - done));
  EXPECT_EQ(printed, text);
  // A hundred times what it takes: only a quadratic blow-up fails.
  EXPECT_LT(ms(verified - start), 30000);
}

TEST(Parser, long_lines_stay_linear) {
  const int n = 200000;
  EXPECT_EQ(parse_error("graph net {\n  output [" + repeated("1, ", n) + "]\n}"), "no error");
  EXPECT_EQ(parse_error("graph net {\n  output " + python_repr(repeated("\xff'\"\n", n)) + "\n}"), "no error");
  EXPECT_EQ(parse_error("graph net {\n  %x = call_method f(0) in " + repeated("a.", n) + "a of " + repeated("a.", n) +
                        "b\n}"),
            "no error");
  EXPECT_EQ(parse_error("graph net {\n  %x = call_method f(0) in a" + repeated(" of a", n) + "\n}"),
            "2:1000023: this scope has another parent above");
  EXPECT_EQ(parse_error("graph net {\n" + repeated("// comment\n\n", n) + "}"), "no error");
}

}  // namespace
}  // namespace modulize
