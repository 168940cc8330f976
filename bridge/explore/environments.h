// Which questions about the world around it make a difference to forward.
#pragma once

#include <memory>
#include <vector>

#include "bridge/explore/explore.h"

namespace modulize {

/// Sorts the questions that `first` asked into `options`: captured again in every other world that answers one of them
/// otherwise, does forward record the same (silent) or not (decided)? Silent ones are taken out of `first`, where
/// questions are decisions (on_dynamic="branch"). Returns the captures of the worlds in which it is not the same.
std::vector<std::shared_ptr<const Capture>> sort_questions(nb::handle root, Capture& first, CaptureOptions& options);

}  // namespace modulize
