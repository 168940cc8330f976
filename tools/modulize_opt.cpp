// modulize_opt: .mzir text in, passes, .mzir text out. No Python needed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"
#include "passes/pipeline.h"
#include "support/error.h"
#include "support/text.h"

namespace modulize {
namespace {

constexpr const char* kUsage =
    "usage: modulize_opt FILE|- [options]\n"
    "\n"
    "Reads a graph in .mzir text, runs passes on it and prints what came out.\n"
    "\n"
    "  --passes a,b         run these passes, in this order\n"
    "  --pipeline           run the passes that prepare_model runs\n"
    "  --target NAME        module classes and names of torch (default) or aimet\n"
    "  --layout-modules     layout operations become modules too\n"
    "  --copy-parameters    the modules made of a reused one hold copies of its tensors\n"
    "  --plain-sizes        sizes are plain numbers in a trace, too\n"
    "  --decompose-attention  open attention functions\n"
    "  --idioms             compositions written by hand become the call that they mean\n"
    "  --verify-each        run the verifier after every pass (it always runs first and last)\n"
    "  --print-after-all    print the graph after every pass on stderr\n"
    "  --timing             print the time of every pass on stderr\n"
    "  --list-passes        print the names of all passes and exit\n"
    "\n"
    "Exit status: 0, 1 on an error in the text or the passes, 2 on wrong usage.\n";

struct Arguments {
  std::string file;
  std::vector<std::string> passes;
  PassOptions options;
  bool verify_each = false, print_after_all = false, timing = false, list_passes = false, help = false;
};

class UsageError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

void add_passes(Arguments& arguments, std::string_view list) {
  for (;;) {
    const std::size_t comma = list.find(',');
    const std::string name(list.substr(0, comma));
    if (!find_pass(name)) {
      std::string message = "no pass is called '" + name + "'";
      for (const PassInfo& pass : all_passes())
        if (edit_distance(pass.name, name) <= 3) message += "; did you mean '" + std::string(pass.name) + "'?";
      throw UsageError(message + " (--list-passes shows them)");
    }
    arguments.passes.push_back(name);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

// "--layout-modules" -> "layout_modules"
std::string option_word(std::string_view argument) {
  std::string word(argument.starts_with("--") ? argument.substr(2) : std::string_view());
  std::replace(word.begin(), word.end(), '-', '_');
  return word;
}

Arguments read_arguments(int argc, char** argv) {
  Arguments arguments;
  bool has_passes = false, has_pipeline = false;
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    std::optional<std::string_view> attached;
    const std::size_t equals = argument.find('=');
    if (argument.starts_with("--") && equals != std::string_view::npos) {
      attached = argument.substr(equals + 1);
      argument = argument.substr(0, equals);
    }
    const auto value = [&]() -> std::string_view {
      if (attached) return *std::exchange(attached, std::nullopt);
      if (i + 1 >= argc) throw UsageError(std::string(argument) + " needs a value");
      return argv[++i];
    };
    if (argument == "--passes") {
      has_passes = true;
      add_passes(arguments, value());
    } else if (argument == "--pipeline") {
      has_pipeline = true;
      for (const std::string_view pass : default_pipeline()) arguments.passes.emplace_back(pass);
    } else if (argument == "--target") {
      arguments.options.target = value();
    } else if (set_option(arguments.options, option_word(argument))) {
    } else if (argument == "--verify-each") {
      arguments.verify_each = true;
    } else if (argument == "--print-after-all") {
      arguments.print_after_all = true;
    } else if (argument == "--timing") {
      arguments.timing = true;
    } else if (argument == "--list-passes") {
      arguments.list_passes = true;
    } else if (argument == "--help" || argument == "-h") {
      arguments.help = true;
    } else if (argument.starts_with("-") && argument != "-") {
      throw UsageError("unknown option '" + std::string(argument) + "'");
    } else if (!arguments.file.empty()) {
      throw UsageError("one file at a time: '" + arguments.file + "' and '" + std::string(argument) + "' are given");
    } else {
      arguments.file = argument;
    }
    if (attached) throw UsageError(std::string(argument) + " takes no value");
  }
  if (has_passes && has_pipeline) throw UsageError("--passes and --pipeline exclude each other");
  if (arguments.file.empty() && !arguments.list_passes && !arguments.help) throw UsageError("no file is given");
  return arguments;
}

std::string read_input(const std::string& file) {
  if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream in(file, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in) throw std::runtime_error("cannot read the file");
  return text;
}

class Stopwatch {
 public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void report_time(const Arguments& arguments, std::string_view what, const Stopwatch& watch) {
  if (!arguments.timing) return;
  char line[160];
  std::snprintf(line, sizeof line, "%10.3f ms  %.*s\n", watch.milliseconds(), static_cast<int>(what.size()),
                what.data());
  std::cerr << line;
}

void run(const Arguments& arguments) {
  const std::string text = read_input(arguments.file);
  const Stopwatch parsing;
  Graph graph = parse(text);
  report_time(arguments, "parse", parsing);
  verify(graph);
  const PassContext context{arguments.options, nullptr};
  for (const std::string& name : arguments.passes) {
    const Stopwatch watch;
    const PassResult result = find_pass(name)->run(graph, context);
    report_time(arguments, name, watch);
    if (arguments.print_after_all)
      std::cerr << "// after " << name << (result.modified ? "\n" : " (nothing modified)\n") << print(graph);
    if (arguments.verify_each) {
      try {
        verify(graph);
      } catch (const Error& e) {
        throw Error(e.code(), "after " + name + ": " + e.what());
      }
    }
  }
  verify(graph);
  const Stopwatch printing;
  const std::string out = print(graph);
  report_time(arguments, "print", printing);
  std::cout << out;
  if (!std::cout.flush()) throw std::runtime_error("cannot write the output");
}

}  // namespace
}  // namespace modulize

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  modulize::Arguments arguments;
  try {
    arguments = modulize::read_arguments(argc, argv);
  } catch (const modulize::UsageError& e) {
    std::cerr << "modulize_opt: " << e.what() << "\n\n" << modulize::kUsage;
    return 2;
  }
  if (arguments.help) {
    std::cout << modulize::kUsage;
    return 0;
  }
  if (arguments.list_passes) {
    for (const modulize::PassInfo& pass : modulize::all_passes()) std::cout << pass.name << "\n";
    return 0;
  }
  const std::string file = arguments.file == "-" ? "<stdin>" : arguments.file;
  try {
    modulize::run(arguments);
    return 0;
  } catch (const modulize::Error& e) {
    // A parse error starts with `line:column: `.
    const bool has_position = e.code() == modulize::ErrorCode::ParseError;
    std::cerr << file << (has_position ? ":" : ": ") << e.what() << "\n";
  } catch (const std::exception& e) {
    std::cerr << file << ": " << e.what() << "\n";
  }
  return 1;
}
