// The tables of objects and constants of several captures of one model.
#pragma once

#include "bridge/record/capture.h"

namespace modulize {

/// Are two objects of Python the same for forward: equal, or functions of the same code that hold the same?
bool same_object(nb::handle a, nb::handle b);

/// What was added to the tables of `from` is in those of `to` too.
void share_tables(const Capture& from, Capture& to);

/// Gives the objects in `other` the numbers that `base` has for the same ones; new ones are added to `base`.
void adopt_objects(Capture& base, Capture& other);

/// Gives `other` the numbers and names that `base` has for the same objects and constants; new ones are added to
/// `base`. Both have the same tables afterwards.
void adopt(Capture& base, Capture& other);

}  // namespace modulize
