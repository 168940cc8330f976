// Calls forward once, under a recorder: placeholders in, output node out.
#pragma once

#include "bridge/capture/recorder.h"
#include "bridge/capture/state_writes.h"

namespace modulize {

/// Records one call of `forward`, the bound method of `root`. Throws as capture_model does.
void record_forward(nb::handle root, const CaptureOptions& options, Recorder& recorder, nb::handle forward);

}  // namespace modulize
