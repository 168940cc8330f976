// Functions of numbers that Python answers without asking torch.
#pragma once

#include <utility>
#include <vector>

#include "bridge/python/patches.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// math.*, len and the like, which Python answers without asking torch. Those that the user's globals hold by name are
/// replaced when their globals are met (Settings::on_traced_module), and so are `others`: builtins and what stands for
/// them.
void patch_numbers(Patches& patches, Recorder& recorder,
                   const std::vector<std::pair<nb::object, nb::object>>& others = {});

/// While one lives, int(n) and float(n) of a traced number are traced, too. Both are classes, whose calls go through a
/// slot. Needs the GIL.
class NumberConversions {
 public:
  NumberConversions();
  ~NumberConversions();
  NumberConversions(const NumberConversions&) = delete;
  NumberConversions& operator=(const NumberConversions&) = delete;
};

}  // namespace modulize
