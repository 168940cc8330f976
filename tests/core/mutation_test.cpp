// Graphs made of the golden cases by small accidents: whatever the verifier accepts, the pipeline must rewrite into
// what it accepts again, and a second run must change nothing.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>

#include "golden.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pipeline.h"
#include "support/error.h"

namespace modulize {
namespace {

std::vector<std::string> golden_inputs() {
  std::vector<std::string> inputs;
  for (const auto& path : golden::find_files(MODULIZE_GOLDEN_FOLDER)) {
    std::ifstream in(path, std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(in), {});
    for (std::size_t at = text.find("// ==="); at != std::string::npos; at = text.find("// ===", at + 1)) {
      const std::size_t graph = text.find("\ngraph ", at), end = text.find("\n// ---", at);
      if (graph < end && end != std::string::npos) inputs.push_back(text.substr(graph + 1, end - graph));
    }
  }
  return inputs;
}

// Another argument, keyword, literal, target, line or scope, taken from another case.
std::string mutated(std::string text, const std::string& other, std::mt19937& random) {
  const auto pick_token = [&](const std::string& from) {
    static constexpr std::string_view kEnds = " ,()[]{}=\n";
    std::size_t start = from.find_last_of(kEnds, random() % from.size());
    start = start == std::string::npos ? 0 : start + 1;
    const std::size_t end = std::min(from.find_first_of(kEnds, start), from.size());
    return std::pair(start, end - start);
  };
  for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
    const auto [start, length] = pick_token(text);
    const auto [from, size] = pick_token(other);
    switch (random() % 4) {
      case 0:
        text.replace(start, length, other, from, size);
        break;
      case 1: {
        const auto [from_self, size_self] = pick_token(text);
        text.replace(start, length, std::string(text, from_self, size_self));
        break;
      }
      case 2:
        text.replace(start, length,
                     std::vector<std::string>{"None", "0", "-1", "1.5", "'x'", "(1, 2)", "True", "...", "torch.float32",
                                              "[]", "slice(None, 1, None)"}[random() % 11]);
        break;
      default: {
        const std::size_t line = text.rfind('\n', start);
        const std::size_t next = text.find('\n', start);
        if (line == std::string::npos || next == std::string::npos) break;
        if (random() % 2)
          text.erase(line, next - line);
        else
          text.insert(line, text.substr(line, next - line));
      }
    }
    if (text.empty()) return "graph net {}";
  }
  return text;
}

TEST(Pipeline, survives_whatever_the_verifier_accepts) {
  const std::vector<std::string> inputs = golden_inputs();
  ASSERT_GT(inputs.size(), 50u);
  std::mt19937 random(11);
  int accepted = 0;
  for (int round = 0; round < MODULIZE_MUTATIONS; ++round) {
    const std::string text = mutated(inputs[random() % inputs.size()], inputs[random() % inputs.size()], random);
    Graph graph;
    try {
      graph = parse(text);
      verify(graph);
    } catch (const Error&) {
      continue;
    }
    ++accepted;
    PipelineOptions options;
    options.verify_each = true;
    options.target = random() % 2 ? "torch" : "aimet";
    options.layout_modules = random() % 4 == 0;
    try {
      run_pipeline(graph, options, nullptr);
      const std::string once = print(graph);
      ASSERT_EQ(print(parse(once)), once) << text;
      run_pipeline(graph, options, nullptr);
      ASSERT_EQ(print(graph), once) << "the second run changes this:\n" << text;
    } catch (const Error& e) {
      // Where branches stand the verifier does not ask whether a scope is one interval; once they are outlined it does.
      if (std::string_view(e.what()).starts_with("invariant 15") && text.find("begin_if") != text.npos) continue;
      FAIL() << error_name(e.code()) << ": " << e.what() << "\n" << text;
    } catch (const std::exception& e) {
      FAIL() << e.what() << "\n" << text;
    }
  }
  EXPECT_GT(accepted, MODULIZE_MUTATIONS / 20);
  RecordProperty("accepted", accepted);
}

}  // namespace
}  // namespace modulize
