// Prints random graphs for tests in other languages.
//
//   modulize_random_graphs COUNT [SEED]
//
// Each is a .mzir text, and a line `// ===` stands between two.
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "ir/printer.h"
#include "random_graph.h"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: modulize_random_graphs COUNT [SEED]\n";
    return 2;
  }
  std::mt19937 random(argc == 3 ? static_cast<unsigned>(std::stoul(argv[2])) : 1u);
  for (int count = std::stoi(argv[1]); count > 0; --count) {
    std::vector<std::uint8_t> bytes(random() % 2000);
    for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random());
    const modulize::fuzz::Choices choices(bytes.data(), bytes.size());
    std::cout << modulize::print(modulize::fuzz::random_graph(choices)) << (count > 1 ? "// ===\n" : "");
  }
}
