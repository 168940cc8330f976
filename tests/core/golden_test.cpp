// The harness must fail where an expectation is wrong, a pass lies or a case is not written as it must be.
#include "golden.h"

#include <gtest/gtest.h>

#include <array>

#include "support/error.h"

namespace modulize::golden {
namespace {

const std::string kGraph =
    "graph net {\n"
    "  %x = placeholder x\n"
    "  %y: tensor = call_function torch.relu(%x)\n"
    "  output %y\n"
    "}\n";

// Removes what nobody uses: `dead_code` is the pass of these tests.
const std::string kDead =
    "graph net {\n"
    "  %x = placeholder x\n"
    "  %dead: size = call_method size(%x)\n"
    "  output %x\n"
    "}\n";
const std::string kClean =
    "graph net {\n"
    "  %x = placeholder x\n"
    "  output %x\n"
    "}\n";

std::vector<std::string> failures(const std::string& text) { return run_text(text, "dead_code").failures; }

using Failures = std::vector<std::string>;

TEST(GoldenHarness, right_expectations_pass) {
  EXPECT_EQ(failures("// === a\n" + kDead + "// --- after\n" + kClean), Failures{});
  EXPECT_EQ(failures("// === a\n" + kClean + "// --- unchanged\n"), Failures{});
  EXPECT_EQ(failures("// A preamble.\n\n// === a\n// passes: none\n" + kGraph + "// --- unchanged\n\n// === b\n" +
                     kDead + "// --- after\n" + kClean),
            Failures{});
  EXPECT_EQ(
      failures(
          "// === a\ngraph\n// --- error ParseError: 1:6: expected the name of the graph, found the end of the line\n"),
      Failures{});
}

TEST(GoldenHarness, a_wrong_output_fails_with_the_lines_that_differ) {
  EXPECT_EQ(failures("// === a\n" + kDead + "// --- after\n" + kDead),
            (Failures{"a: the output differs (- expected, + actual)\n"
                      "  graph net {\n"
                      "    %x = placeholder x\n"
                      "-   %dead: size = call_method size(%x)\n"
                      "    output %x\n"
                      "  }\n"}));
}

TEST(GoldenHarness, one_blank_too_many_fails) {
  std::string expected = kClean;
  expected.replace(expected.find("output %x"), 9, "output  %x");
  EXPECT_EQ(failures("// === a\n" + kDead + "// --- after\n" + expected).size(), 1u);
}

TEST(GoldenHarness, an_output_that_was_to_be_unchanged_fails) {
  const Failures found = failures("// === a\n" + kDead + "// --- unchanged\n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].starts_with("a: expected to be unchanged\n")) << found[0];
}

TEST(GoldenHarness, errors_are_compared_in_full) {
  EXPECT_EQ(failures("// === a\n" + kClean + "// --- error ParseError: 1:1: no\n").size(), 1u);
  EXPECT_EQ(failures("// === a\ngraph {\n// --- error ParseError: 1:7: expected the name\n"),
            (Failures{"a: another error\n- ParseError: 1:7: expected the name\n"
                      "+ ParseError: 1:7: expected the name of the graph, found '{'"}));
  EXPECT_EQ(failures("// === a\ngraph {\n// --- after\n" + kClean),
            (Failures{"a: throws ParseError: 1:7: expected the name of the graph, found '{'"}));
}

TEST(GoldenHarness, an_input_that_breaks_an_invariant_fails) {
  EXPECT_EQ(failures("// === a\ngraph net {\n  %x = call_module conv()\n  output %x\n}\n// --- unchanged\n"),
            (Failures{"a: throws VerifierError: invariant 10: the module tree has no module 'conv': "
                      "`%x = call_module conv()`"}));
}

TEST(GoldenHarness, wrong_conversions_fail) {
  EXPECT_EQ(
      failures("// === a\n" + kDead + "// --- after\n" + kClean + "// --- conversions\n// dead_code: a -> b as c\n"),
      (Failures{"a: the conversions differ (- expected, + actual)\n- // dead_code: a -> b as c\n"}));
  EXPECT_EQ(failures("// === a\n" + kDead + "// --- after\n" + kClean + "// --- conversions\n"), Failures{});
}

TEST(GoldenHarness, cases_must_be_written_as_they_must) {
  EXPECT_EQ(failures(""), (Failures{"the file has no case (`// === title`)"}));
  EXPECT_EQ(failures("// === a\n" + kClean), (Failures{"a: the case ends without an expectation"}));
  EXPECT_EQ(failures("// ===\n" + kClean + "// --- unchanged\n"), (Failures{": the case has no title"}));
  EXPECT_EQ(failures("// === a\n" + kClean + "// --- unchanged\n// === a\n" + kClean + "// --- unchanged\n"),
            (Failures{"a: the title stands in the file twice"}));
  EXPECT_EQ(failures("// === a\n" + kClean + "// --- afterwards\n"),
            (Failures{"a: not an ending: // --- afterwards", "a: the case ends without an expectation"}));
  EXPECT_EQ(failures("// === a\n" + kClean + "// --- unchanged\n// --- after\n"),
            (Failures{"a: a second ending: // --- after"}));
  EXPECT_EQ(failures("// === a\n" + kClean + "// --- unchanged\n" + kClean),
            (Failures{"a: text stands below `// --- unchanged`"}));
  EXPECT_EQ(failures("// === a\n// pass: none\n" + kClean + "// --- unchanged\n"),
            (Failures{"a: a line `// pass:` means nothing here (passes, target, options)"}));
  EXPECT_EQ(failures("// === a\n// options: fast\n" + kClean + "// --- unchanged\n"),
            (Failures{"a: no option is called 'fast'"}));
  EXPECT_EQ(failures("// === a\n// passes: dead\n" + kClean + "// --- unchanged\n"),
            (Failures{"a: no pass is called 'dead'"}));
  EXPECT_EQ(failures(kClean + "// === a\n" + kClean + "// --- unchanged\n").size(), 4u);
  EXPECT_EQ(run_text("// === a\n" + kClean + "// --- unchanged\n", "no_pass").failures,
            (Failures{"a: no pass is called 'no_pass'"}));
}

// Passes that break the rules, each in its own way.
PassResult silent(Graph& graph, const PassContext&) {
  graph[1].target = "torch.tanh";
  return {false};
}
PassResult boastful(Graph&, const PassContext&) { return {true}; }
PassResult restless(Graph& graph, const PassContext&) {
  graph[1].target += "_again";
  return {true};
}
PassResult breaking(Graph& graph, const PassContext&) {
  const bool modified = graph[1].args[0].is_node();
  graph[1].op = Opcode::call_module;
  return {modified};
}
PassResult talkative(Graph&, const PassContext& context) {
  if (context.conversions) context.conversions->push_back({"talkative", "a", "b", "c", "block", "net.py:1"});
  return {false};
}
PassResult throwing(Graph& graph, const PassContext&) {
  if (graph[1].target == "torch.relu") {
    graph[1].target = "torch.tanh";
    return {true};
  }
  throw Error(ErrorCode::UnsupportedError, "not twice");
}

const PassInfo* find_bad_pass(std::string_view name) {
  static const std::array<PassInfo, 6> passes = {{{"silent", silent},
                                                  {"boastful", boastful},
                                                  {"restless", restless},
                                                  {"breaking", breaking},
                                                  {"talkative", talkative},
                                                  {"throwing", throwing}}};
  for (const PassInfo& pass : passes)
    if (pass.name == name) return &pass;
  return nullptr;
}

std::string with_target(std::string target) {
  std::string text = kGraph;
  return text.replace(text.find("torch.relu"), 10, target);
}

TEST(GoldenHarness, a_pass_that_breaks_the_rules_fails_though_its_output_is_as_expected) {
  const auto run = [](const std::string& pass, const std::string& output) {
    const Failures found = run_text("// === a\n" + kGraph + "// --- after\n" + output, pass, find_bad_pass).failures;
    Failures first_lines;
    for (const std::string& failure : found) first_lines.push_back(failure.substr(0, failure.find('\n')));
    return first_lines;
  };
  EXPECT_EQ(run("silent", with_target("torch.tanh")),
            (Failures{"a: silent says modified = false, and the text says otherwise"}));
  EXPECT_EQ(run("boastful", kGraph),
            (Failures{"a: boastful says modified = true, and the text says otherwise",
                      "a: boastful says modified = true in the second run, and the text says otherwise"}));
  EXPECT_EQ(run("restless", with_target("torch.relu_again")), (Failures{"a: a second run changes the graph"}));
  EXPECT_EQ(run("talkative", kGraph),
            (Failures{"a: a second run reports a conversion: // talkative: a -> b as c in block at net.py:1"}));
  EXPECT_EQ(run("throwing", with_target("torch.tanh")),
            (Failures{"a: the second run throws UnsupportedError: not twice"}));
  std::string broken = kGraph;
  broken.replace(broken.find("call_function"), 13, "call_module");
  const Failures found = run("breaking", broken);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0],
            "a: the verifier refuses the graph after breaking: invariant 10: the module tree has no module "
            "'torch.relu': `%y: tensor = call_module torch.relu(%x)`");
}

TEST(GoldenHarness, accept_writes_what_came_out_and_nothing_else) {
  const std::string preamble = "// About these.\n\n";
  const std::string wrong = preamble + "// === a\n// a remark\n" + kDead + "// --- after\n" + kDead + "\n// === b\n" +
                            kDead + "// --- unchanged\n\n// === c\ngraph {\n// --- after\n" + kClean + "\n// === d\n" +
                            kClean + "// --- unchanged\n";
  const std::string right = preamble + "// === a\n// a remark\n" + kDead + "// --- after\n" + kClean + "\n// === b\n" +
                            kDead + "// --- after\n" + kClean +
                            "\n// === c\ngraph {\n"
                            "// --- error ParseError: 1:7: expected the name of the graph, found '{'\n"
                            "\n// === d\n" +
                            kClean + "// --- unchanged\n";
  EXPECT_EQ(run_text(wrong, "dead_code").accepted, right);
  EXPECT_EQ(run_text(right, "dead_code").accepted, right);
  EXPECT_EQ(run_text(right, "dead_code").failures, Failures{});
}

TEST(GoldenHarness, the_pass_is_the_first_name_below_the_folder) {
  EXPECT_EQ(pass_of("/g", "/g/dead_code.mzir"), "dead_code");
  EXPECT_EQ(pass_of("/g", "/g/dead_code/effects.mzir"), "dead_code");
}

TEST(GoldenHarness, a_folder_without_cases_is_an_error) {
  EXPECT_THROW(find_files("/nowhere/at/all"), std::runtime_error);
}

}  // namespace
}  // namespace modulize::golden
