// Attributes of modules that forward is given as arguments.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// What forward reads from a given module goes through GivenModules, and so does what it sets.
void patch_given_modules(Patches& patches);

}  // namespace modulize
