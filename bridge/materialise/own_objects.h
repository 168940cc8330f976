// Objects of the prepared model's own, where forward writes into those that attributes hold.
#pragma once

#include "bridge/record/capture.h"

namespace modulize {

/// Gives the prepared model objects of its own where forward writes into those that attributes hold.
void own_written_objects(nb::handle prepared, const Capture& capture);

}  // namespace modulize
