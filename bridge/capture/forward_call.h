// Calls forward once, under a recorder: placeholders in, output node out.
#pragma once

#include "bridge/boundary/module_state.h"
#include "bridge/capture/capture.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// Records one call of `forward`, the bound method of `root`. Throws as capture_model does.
void record_forward(nb::handle root, const CaptureOptions& options, Recorder& recorder, nb::handle forward);

}  // namespace modulize
