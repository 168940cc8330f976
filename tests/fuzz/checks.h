// What must hold of every graph, whoever made it: shared by the fuzz targets and their replay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "ir/graph.h"
#include "passes/pipeline.h"

namespace modulize::fuzz {

/// A promise that does not hold. The message has the graph's text.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// `print(parse(print(g))) == print(g)`. `graph` passes the verifier.
void check_text_form(const Graph& graph);

/// Runs every pass of the pipeline with the verifier around it: `modified` is truthful, a second run changes nothing,
/// the result reads back. Then the pipeline as a whole, a second time: nothing changes, and no module is called twice.
/// The result is the same program: nothing that may have an effect is gone or moved, nothing gets other operands.
/// Returns what came out. `graph` passes the verifier.
Graph check_pipeline(const Graph& graph, const PassOptions& options);

/// Generates the source in both access styles, in one piece and in small ones. Where `must_succeed` is false, a name
/// that cannot be spelled may be refused with an Error.
void check_codegen(const Graph& graph, bool must_succeed);

/// One input of a fuzz target. Throws Failure; an Error that gets out is a failure too.
void run_input(const std::uint8_t* data, std::size_t size);

}  // namespace modulize::fuzz
