// The whole way from a model to its prepared form.
#pragma once

#include <vector>

#include "bridge/capture/capture.h"
#include "passes/pipeline.h"

namespace modulize {

/// Of a report that nobody may ever read: entries for Python are made when they are asked for.
struct Conversions {
  std::vector<Conversion> entries;
  nb::list as_list() const;
};

/// Captures, rewrites and materialises. Returns (prepared model, report data). The modules that code kept whole calls
/// are captured by themselves, with what that code calls them with, and stand prepared in their places.
/// `verify`: capture a second time.
nb::object prepare(nb::handle model, const CaptureOptions& options, const PipelineOptions& pipeline, bool verify);

}  // namespace modulize
