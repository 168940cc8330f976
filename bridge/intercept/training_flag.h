// Reads and writes of Module.training.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// A data descriptor on nn.Module comes before the instances' own attribute.
void patch_training_flag(Patches& patches);

}  // namespace modulize
