// Which of the attributes that forward writes are state.
#pragma once

#include "bridge/capture/capture.h"

namespace modulize {

/// How the attributes that a first capture saw written are to be captured. Those whose content changes no result
/// (tables made for a size) stay as they are before the first call, so that the prepared model makes them at every
/// call; any other becomes live. Runs the model a few times and puts everything back.
StatePlan plan_state(nb::handle root, const CaptureOptions& options, const Capture& first);

}  // namespace modulize
