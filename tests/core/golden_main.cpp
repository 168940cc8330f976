// modulize_golden [--accept] FOLDER|FILE [FOLDER]: runs golden cases. With a FILE, the second argument is the folder
// of the goldens, which tells what pass the file is about (default: the folder that the file is in).
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>

#include "golden.h"

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return std::string(std::istreambuf_iterator<char>(in), {});
}

int run(bool accept, const std::filesystem::path& root, const std::filesystem::path& folder) {
  std::size_t cases = 0, failures = 0;
  for (const std::filesystem::path& path : modulize::golden::find_files(folder)) {
    const std::string text = read(path);
    const std::string pass = modulize::golden::pass_of(root, path);
    modulize::golden::Report report = modulize::golden::run_text(text, pass);
    if (accept && report.accepted != text) {
      std::ofstream out(path, std::ios::binary | std::ios::trunc);
      out << report.accepted;
      if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
      std::cout << path.string() << ": rewritten\n";
      report = modulize::golden::run_text(report.accepted, pass);
    }
    cases += report.cases;
    failures += report.failures.size();
    for (const std::string& failure : report.failures) std::cout << path.string() << ": " << failure << "\n";
  }
  std::cout << cases << " golden cases, " << failures << " failures\n";
  return failures ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  bool accept = std::getenv("MODULIZE_ACCEPT_GOLDENS") != nullptr;
  std::vector<std::filesystem::path> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--accept")
      accept = true;
    else
      paths.emplace_back(argument);
  }
  if (paths.empty() || paths.size() > 2) {
    std::cerr << "usage: modulize_golden [--accept] FOLDER|FILE [FOLDER]\n";
    return 2;
  }
  try {
    std::filesystem::path root = paths.back();
    if (std::filesystem::is_regular_file(root)) root = root.parent_path();
    return run(accept, root.empty() ? "." : root, paths.front());
  } catch (const std::exception& e) {
    std::cerr << "modulize_golden: " << e.what() << "\n";
    return 1;
  }
}
