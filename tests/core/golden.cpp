#include "golden.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <stdexcept>

#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/pass.h"
#include "passes/pipeline.h"
#include "support/error.h"

namespace modulize::golden {

namespace {

enum class Ending { none, after, unchanged, error };

struct Case {
  std::string title;
  std::string input;  // everything between the title and the ending, options and comments included
  Ending ending = Ending::none;
  std::string expected;  // the output graph, or the error
  bool has_conversions = false;
  std::string conversions;
  std::vector<std::string> passes;
  PassOptions options;
  std::vector<std::string> mistakes;  // in the way the case is written
};

struct File {
  std::string preamble;
  std::vector<Case> cases;
  std::vector<std::string> mistakes;
};

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    words.emplace_back(trim(text.substr(0, comma)));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return words;
}

// The text without blank lines around it, with one line end.
std::string block(std::string_view text) {
  while (!text.empty() && (text.front() == '\n' || text.front() == '\r')) text.remove_prefix(1);
  const std::string_view end = trim(text);
  if (end.empty()) return "";
  return std::string(text.substr(0, static_cast<std::size_t>(end.data() + end.size() - text.data()))) + "\n";
}

void read_option(Case& c, std::string_view key, std::string_view value, bool& has_passes) {
  if (key == "passes") {
    has_passes = true;
    if (value == "none") return;
    if (value == "pipeline") {
      for (const std::string_view pass : default_pipeline()) c.passes.emplace_back(pass);
      return;
    }
    c.passes = split_list(value);
  } else if (key == "target") {
    c.options.target = value;
  } else if (key == "options") {
    for (const std::string& word : split_list(value)) {
      if (!set_option(c.options, word)) c.mistakes.push_back("no option is called '" + word + "'");
    }
  } else {
    c.mistakes.push_back("a line `// " + std::string(key) + ":` means nothing here (passes, target, options)");
  }
}

void read_options(Case& c, std::string_view pass, const PassFinder& find) {
  bool has_passes = false;
  for (const std::string_view line : split_lines(c.input)) {
    if (trim(line).empty()) continue;
    if (!line.starts_with("//")) break;
    const std::string_view text = trim(line.substr(2));
    const std::size_t colon = text.find(':');
    const std::string_view key = text.substr(0, colon);
    const bool is_option = colon != std::string_view::npos && !key.empty() &&
                           std::all_of(key.begin(), key.end(), [](char ch) { return ch >= 'a' && ch <= 'z'; });
    if (is_option) read_option(c, key, trim(text.substr(colon + 1)), has_passes);
  }
  if (!has_passes) c.passes.emplace_back(pass);
  for (const std::string& name : c.passes)
    if (!find(name)) c.mistakes.push_back("no pass is called '" + name + "'");
}

File read_file(std::string_view text, std::string_view pass, const PassFinder& find) {
  File file;
  std::string* into = &file.preamble;
  std::set<std::string, std::less<>> titles;
  for (const std::string_view line : split_lines(text)) {
    if (line.starts_with("// ===")) {
      file.cases.emplace_back();
      Case& c = file.cases.back();
      c.title = trim(line.substr(6));
      if (c.title.empty()) c.mistakes.push_back("the case has no title");
      if (!titles.insert(c.title).second) c.mistakes.push_back("the title stands in the file twice");
      into = &c.input;
      continue;
    }
    if (line.starts_with("// ---") && !file.cases.empty()) {
      Case& c = file.cases.back();
      const std::string_view what = trim(line.substr(6));
      if (what == "conversions" && c.ending != Ending::none && !c.has_conversions) {
        c.has_conversions = true;
        into = &c.conversions;
        continue;
      }
      if (c.ending != Ending::none) {
        c.mistakes.push_back("a second ending: " + std::string(line));
      } else if (what == "after") {
        c.ending = Ending::after;
      } else if (what == "unchanged") {
        c.ending = Ending::unchanged;
      } else if (what.starts_with("error ")) {
        c.ending = Ending::error;
        c.expected = trim(what.substr(6));
      } else {
        c.mistakes.push_back("not an ending: " + std::string(line));
      }
      into = &c.expected;
      continue;
    }
    into->append(line).append("\n");
  }
  for (const std::string_view line : split_lines(file.preamble))
    if (!trim(line).empty() && !line.starts_with("//"))
      file.mistakes.push_back("above the first `// === title` may stand comments only, found: " + std::string(line));
  for (Case& c : file.cases) {
    read_options(c, pass, find);
    if (c.ending == Ending::none) c.mistakes.push_back("the case ends without an expectation");
    if (c.ending == Ending::unchanged && !trim(c.expected).empty())
      c.mistakes.push_back("text stands below `// --- unchanged`");
    if (c.ending == Ending::error && c.expected.find('\n') != std::string::npos) {
      if (!trim(std::string_view(c.expected).substr(c.expected.find('\n'))).empty())
        c.mistakes.push_back("text stands below `// --- error`");
      c.expected = trim(c.expected);
    }
    if (c.ending != Ending::error) c.expected = block(c.expected);
    c.conversions = block(c.conversions);
  }
  return file;
}

struct Outcome {
  bool is_error = false;
  std::string text;   // the output graph, or "ErrorName: message"
  std::string input;  // as printed
  std::string conversions;
};

std::string conversion_line(const Conversion& c) {
  std::string line = "// " + c.pass + ": " + c.from + " -> " + c.to + " as " + c.path;
  if (!c.scope.empty()) line += " in " + c.scope;
  if (!c.where.empty()) line += " at " + c.where;
  return line + "\n";
}

std::string error_text(const Error& e) { return std::string(error_name(e.code())) + ": " + e.what(); }

class Runner {
 public:
  Runner(const Case& c, const PassFinder& find, std::vector<std::string>& failures)
      : case_(c), find_(find), failures_(failures) {}

  // Runs the case; what is checked unasked goes to the failures.
  Outcome run() {
    Outcome outcome;
    std::vector<Conversion> conversions;
    Graph graph;
    try {
      graph = parse(case_.input);
      outcome.input = print(graph);
      check_round_trip("input", outcome.input);
      verify(graph);
      run_passes(graph, &conversions, "");
    } catch (const Error& e) {
      outcome.is_error = true;
      outcome.text = error_text(e);
      return outcome;
    }
    outcome.text = print(graph);
    for (const Conversion& c : conversions) outcome.conversions += conversion_line(c);
    check_round_trip("output", outcome.text);
    check_second_run(std::move(graph), outcome.text);
    return outcome;
  }

 private:
  void fail(const std::string& what) { failures_.push_back(case_.title + ": " + what); }

  void check_round_trip(const char* which, const std::string& text) {
    std::string again;
    try {
      again = print(parse(text));
    } catch (const Error& e) {
      fail(std::string("the printed ") + which + " cannot be read again: " + e.what() + "\n" + text);
      return;
    }
    if (again != text) fail(std::string("the ") + which + " does not round-trip\n" + line_diff(text, again));
  }

  void run_passes(Graph& graph, std::vector<Conversion>* conversions, const std::string& when) {
    PassContext context{case_.options, conversions};
    std::string before = print(graph);
    for (const std::string& name : case_.passes) {
      const PassInfo* pass = find_(name);
      if (!pass) continue;  // noted when the file was read
      const bool modified = pass->run(graph, context).modified;
      std::string after = print(graph);
      if (modified != (after != before))
        fail(name + " says modified = " + (modified ? "true" : "false") + when + ", and the text says otherwise\n" +
             line_diff(before, after));
      try {
        verify(graph);
      } catch (const Error& e) {
        fail("the verifier refuses the graph after " + name + when + ": " + e.what() + "\n" + after);
      }
      before = std::move(after);
    }
  }

  void check_second_run(Graph graph, const std::string& text) {
    std::vector<Conversion> conversions;
    try {
      run_passes(graph, &conversions, " in the second run");
    } catch (const Error& e) {
      fail("the second run throws " + error_text(e));
      return;
    }
    const std::string again = print(graph);
    if (again != text) fail("a second run changes the graph\n" + line_diff(text, again));
    for (const Conversion& c : conversions) fail("a second run reports a conversion: " + conversion_line(c));
  }

  const Case& case_;
  const PassFinder& find_;
  std::vector<std::string>& failures_;
};

void check_expectation(const Case& c, const Outcome& outcome, std::vector<std::string>& failures) {
  const auto fail = [&](const std::string& what) { failures.push_back(c.title + ": " + what); };
  if (c.ending == Ending::error) {
    if (!outcome.is_error)
      fail("expected the error `" + c.expected + "`, none was thrown; the output is\n" + outcome.text);
    else if (outcome.text != c.expected)
      fail("another error\n- " + c.expected + "\n+ " + outcome.text);
  } else if (outcome.is_error) {
    fail("throws " + outcome.text);
  } else if (c.ending == Ending::unchanged && outcome.text != outcome.input) {
    fail("expected to be unchanged\n" + line_diff(outcome.input, outcome.text));
  } else if (c.ending == Ending::after && outcome.text != c.expected) {
    fail("the output differs (- expected, + actual)\n" + line_diff(c.expected, outcome.text));
  }
  if (c.has_conversions && outcome.conversions != c.conversions)
    fail("the conversions differ (- expected, + actual)\n" + line_diff(c.conversions, outcome.conversions));
}

void append_accepted(std::string& out, const Case& c, const Outcome& outcome) {
  out += "// === " + c.title + "\n" + c.input;
  if (!out.ends_with('\n')) out += '\n';
  if (outcome.is_error)
    out += "// --- error " + outcome.text + "\n";
  else if (c.ending == Ending::unchanged && outcome.text == outcome.input)
    out += "// --- unchanged\n";
  else
    out += "// --- after\n" + outcome.text;
  if (c.has_conversions && !outcome.is_error) out += "// --- conversions\n" + outcome.conversions;
  out += '\n';
}

}  // namespace

Report run_text(std::string_view text, std::string_view pass, const PassFinder& find) {
  Report report;
  const File file = read_file(text, pass, find);
  report.failures = file.mistakes;
  report.accepted = file.preamble;
  report.cases = file.cases.size();
  for (const Case& c : file.cases) {
    for (const std::string& mistake : c.mistakes) report.failures.push_back(c.title + ": " + mistake);
    const Outcome outcome = Runner(c, find, report.failures).run();
    check_expectation(c, outcome, report.failures);
    append_accepted(report.accepted, c, outcome);
  }
  while (report.accepted.ends_with("\n\n")) report.accepted.pop_back();
  if (file.cases.empty()) report.failures.push_back("the file has no case (`// === title`)");
  return report;
}

std::vector<std::filesystem::path> find_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_regular_file(folder)) {
    files.push_back(folder);
  } else if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && entry.path().extension() == ".mzir") files.push_back(entry.path());
  }
  if (files.empty()) throw std::runtime_error("no .mzir file at " + folder.string());
  std::sort(files.begin(), files.end());
  return files;
}

std::string pass_of(const std::filesystem::path& root, const std::filesystem::path& file) {
  const std::filesystem::path relative = std::filesystem::relative(file, root);
  return relative.begin()->stem().string();
}

std::string line_diff(std::string_view expected, std::string_view actual) {
  const std::vector<std::string_view> a = split_lines(expected), b = split_lines(actual);
  std::size_t front = 0, back = 0;
  while (front < a.size() && front < b.size() && a[front] == b[front]) ++front;
  while (back < a.size() - front && back < b.size() - front && a[a.size() - 1 - back] == b[b.size() - 1 - back]) ++back;
  constexpr std::size_t kContext = 2;
  std::string out;
  const auto line = [&](char mark, std::string_view text) {
    out.append(1, mark).append(" ").append(text).append("\n");
  };
  for (std::size_t i = front - std::min(front, kContext); i < front; ++i) line(' ', a[i]);
  for (std::size_t i = front; i < a.size() - back; ++i) line('-', a[i]);
  for (std::size_t i = front; i < b.size() - back; ++i) line('+', b[i]);
  for (std::size_t i = a.size() - back; i < std::min(a.size() - back + kContext, a.size()); ++i) line(' ', a[i]);
  return out;
}

}  // namespace modulize::golden
