// What sizes decide, as branches.
#pragma once

#include <vector>

#include "bridge/explore/decisions.h"
#include "bridge/explore/recapture.h"

namespace modulize {

/// Makes `capture`, which is settled but for its leaks, hold for the sizes of `others`, too: their captures are
/// explored and compared with further ones as the first was, and where they are the same for all of these, they become
/// branches. What cannot be merged stays a check. `explorer`: of the first capture. Throws Error or nb::python_error.
void branch_on_sizes(nb::handle root, const CaptureOptions& options, std::vector<OtherSizes> others, Explorer& explorer,
                     Capture& capture);

/// Attributes that these captures write and `first` does not are planned for. True if there are any: the model must be
/// captured again.
bool plan_for_sizes(nb::handle root, CaptureOptions& options, const Capture& first,
                    const std::vector<OtherSizes>& others, StatePlan& plan);

}  // namespace modulize
