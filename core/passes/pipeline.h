// The passes of a preparation, in their order.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "passes/pass.h"

namespace modulize {

/// Names of the passes that prepare_model runs. The order and its reasons stand in pipeline.cpp.
const std::vector<std::string_view>& default_pipeline();

/// A pass of a pipeline that has run.
struct PassRun {
  std::string_view pass;
  bool modified;
  double seconds;
};

struct PipelineOptions : PassOptions {
  /// Run the verifier before the first and after every pass.
  bool verify_each = false;
  /// Called after every pass with what it has made; empty: nobody watches.
  std::function<void(const PassRun&, const Graph&)> on_pass = {};
};

/// Runs the default pipeline on `graph`. Throws Error.
void run_pipeline(Graph& graph, const PipelineOptions& options, std::vector<Conversion>* conversions);

}  // namespace modulize
