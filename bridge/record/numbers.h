// What traced numbers ask of the capture that runs; what their slots call is declared in values/traced_number.h.
#pragma once

#include "bridge/record/recorder.h"

namespace modulize {

/// Python asks for the truth of `value`, which is `natural` here: of what was read from a tensor a decision, of sizes
/// an assumption. Returns the outcome to go on with.
bool decide_number(Recorder& recorder, NodeId value, bool natural);

}  // namespace modulize
