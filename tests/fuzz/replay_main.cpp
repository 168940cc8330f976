// Runs a fuzz target without libFuzzer.
//
//   fuzz_x_replay [--random COUNT] [FILE|FOLDER]...
//
// First every file, then COUNT inputs of random bytes, always the same ones. Exits with 1 if an input fails.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "checks.h"

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

bool passes(const std::string& name, const std::string& bytes) {
  try {
    modulize::fuzz::run_input(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    return true;
  } catch (const std::exception& error) {
    std::cerr << name << ": " << error.what() << "\n";
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t ran = 0, failed = 0;
  const auto run = [&](const std::string& name, const std::string& bytes) {
    ++ran;
    if (!passes(name, bytes)) ++failed;
  };
  int count = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--random" && i + 1 < argc) {
      const std::string_view number = argv[++i];
      const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), count);
      if (error == std::errc() && end == number.data() + number.size()) continue;
      std::cerr << "--random takes a number, not '" << number << "'\n";
      return 2;
    }
    for (const fs::path& path : files_of(argument)) {
      std::ifstream in(path, std::ios::binary);
      if (!in) {
        std::cerr << path.string() << ": cannot be read\n";
        return 2;
      }
      run(path.string(), std::string(std::istreambuf_iterator<char>(in), {}));
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < count; ++i) {
    std::string bytes(random() % 2000, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    run("random input " + std::to_string(i), bytes);
  }
  std::cout << ran << " inputs, " << failed << " failed\n";
  return failed || !ran ? 1 : 0;
}
