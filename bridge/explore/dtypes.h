// Which dtypes that forward reads change nothing.
#pragma once

#include "bridge/explore/explore.h"

namespace modulize {

/// Captures again with other dtypes at the places of leaks: those that change nothing are no assumptions, but for
/// whether the dtype is a floating one.
void settle_dtypes(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict);

}  // namespace modulize
