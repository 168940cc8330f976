// The passes of a preparation, in their order.
#pragma once

#include <string_view>
#include <vector>

#include "passes/pass.h"

namespace modulize {

/// Names of the passes that prepare_model runs. The order and its reasons stand in pipeline.cpp.
const std::vector<std::string_view>& default_pipeline();

struct PipelineOptions : PassOptions {
  /// Run the verifier before the first and after every pass.
  bool verify_each = false;
};

/// Runs the default pipeline on `graph`. Throws Error.
void run_pipeline(Graph& graph, const PipelineOptions& options, std::vector<Conversion>* conversions);

}  // namespace modulize
