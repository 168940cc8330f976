// Which questions about the world around it make a difference to forward.
#pragma once

#include "bridge/explore/explore.h"

namespace modulize {

/// Sorts the questions that the first capture asked into `options`: captured again in every other world that answers
/// one of them otherwise, does forward record the same (silent) or not (decided)?
void ask_in_other_worlds(nb::handle root, const Capture& first, CaptureOptions& options);

}  // namespace modulize
