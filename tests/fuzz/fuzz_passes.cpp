// The pipeline on random graphs that the verifier accepts, made of the bytes.
#include "checks.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "random_graph.h"
#include "support/error.h"

namespace modulize::fuzz {

void run_input(const std::uint8_t* data, std::size_t size) {
  Choices choices(data, size);
  PassOptions options;
  options.target = choices.one_in(2) ? "aimet" : "torch";
  options.layout_modules = choices.one_in(4);
  options.tie_parameters = !choices.one_in(8);
  options.idioms = choices.one_in(4);
  options.decompose_attention = choices.one_in(4);
  const Graph graph = random_graph(choices);
  try {
    verify(graph);
  } catch (const Error& error) {
    throw Failure("the generator of random graphs made a wrong one: " + std::string(error.what()) + "\n" +
                  print(graph));
  }
  check_text_form(graph);
  check_codegen(graph, /*must_succeed=*/true);
  check_codegen(check_pipeline(graph, options), /*must_succeed=*/true);
}

}  // namespace modulize::fuzz
