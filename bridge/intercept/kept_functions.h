// Python functions that stay one node however they are reached.
#pragma once

#include "bridge/python/patches.h"

namespace modulize {

/// `functions`: Python functions become one node each however they are reached: their code is replaced.
void patch_excluded(Patches& patches, nb::handle functions);

/// The same for one function that is kept whole, which the recorder knows the reason of.
void patch_kept(Patches& patches, nb::handle function);

/// The same for a function of our own; nothing is reported.
void patch_one_node(Patches& patches, nb::handle function);

/// Functions of register_operation become one node each, under the name they were registered by. Those that the user
/// excludes for this one capture (`excluded`) are left to patch_excluded.
void patch_registered(Patches& patches, nb::handle excluded);
/// Adds a Python function to those of patch_registered, for as long as it lives.
void add_registered_function(nb::handle function);

}  // namespace modulize
