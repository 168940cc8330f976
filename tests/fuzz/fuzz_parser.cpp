// The parser on any bytes: it returns a graph or throws ParseError. What it returns is printed without a crash; what
// the verifier accepts of it reads back the same, and goes through the pipeline.
#include <string_view>

#include "checks.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "support/error.h"

namespace modulize::fuzz {

void run_input(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Graph graph;
  try {
    graph = parse(text);
  } catch (const Error& error) {
    const std::string_view place = error.what();
    if (error.code() != ErrorCode::ParseError || place.substr(0, 1).find_first_of("123456789") != 0)
      throw Failure("the parser throws " + std::string(error_name(error.code())) + ": " + error.what());
    return;
  }
  (void)print(graph);
  try {
    verify(graph);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::VerifierError) throw;
    return;
  }
  check_text_form(graph);
  PassOptions options;
  options.target = size % 2 ? "torch" : "aimet";
  check_codegen(check_pipeline(graph, options), /*must_succeed=*/false);
}

}  // namespace modulize::fuzz
