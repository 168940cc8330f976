// The golden harness: whole printed text in, whole text out.
//
// A file tests/golden/<pass>.mzir, or any tests/golden/<pass>/<name>.mzir, holds cases:
//
//   // === positional slope survives
//   graph net {
//     %x: tensor = placeholder x
//     %y: tensor = call_function torch.nn.functional.leaky_relu(%x, 0.2)
//     output %y
//   }
//   // --- after
//   graph net {
//     module module_leaky_relu = torch.nn.LeakyReLU(0.2) for leaky_relu
//     %x: tensor = placeholder x
//     %y: tensor = call_module module_leaky_relu(%x)
//     output %y
//   }
//
// `// === TITLE` starts a case (titles are unique in a file). Above the first case only comments may stand. Between
// title and graph may stand lines of options:
//
//   // passes: a,b        what to run instead of <pass>; `pipeline`: the default pipeline; `none`: nothing
//   // target: aimet      PassOptions::target
//   // options: layout_modules, copy_parameters
//
// A case ends with one of
//
//   // --- after                       the output graph follows: compared in full, byte for byte
//   // --- unchanged                   nothing follows: the output is the input (a negative case)
//   // --- error VerifierError: text   nothing follows: reading, verifying or the passes throw exactly this
//
// and, if wanted, `// --- conversions` behind the output graph, with one line a Conversion, in order:
//
//   // <pass>: <from> -> <to> as <path> in <scope> at <file:line>          (`in` and `at` only where they are known)
//
// Checked unasked in every case: input and output round-trip through the text form; the verifier accepts the graph
// before and after every pass; `modified` is truthful; a second run changes nothing and says so.
// With --accept (or MODULIZE_ACCEPT_GOLDENS=1) the text after `// --- after` is rewritten to what came out, `unchanged`
// becomes `after` where something changed, and likewise error and conversions; the unasked checks still fail.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "passes/pass.h"

namespace modulize::golden {

struct Report {
  std::size_t cases = 0;
  /// One text a failure: "title: what is wrong", with a line diff where texts differ.
  std::vector<std::string> failures;
  /// The file's text with every expectation rewritten to what came out.
  std::string accepted;
};

/// Null where there is no such pass.
using PassFinder = std::function<const PassInfo*(std::string_view name)>;

/// Runs all cases of one file's text. `pass` is what a case without `// passes:` runs.
Report run_text(std::string_view text, std::string_view pass, const PassFinder& find = find_pass);

/// Every .mzir file below `folder` (or the file itself), sorted. Throws std::runtime_error if there is none.
std::vector<std::filesystem::path> find_files(const std::filesystem::path& folder);

/// The pass that a file is about: its name in tests/golden/, or the folder's in tests/golden/<pass>/.
std::string pass_of(const std::filesystem::path& root, const std::filesystem::path& file);

/// Lines of `expected` and `actual` that differ, as "- ..." and "+ ...", with the lines around them.
std::string line_diff(std::string_view expected, std::string_view actual);

}  // namespace modulize::golden
