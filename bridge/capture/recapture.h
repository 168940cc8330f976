// Other inputs for a model, made of the example's.
#pragma once

#include "bridge/support/python.h"

namespace modulize {

/// A copy of the inputs with the values of every tensor in another order and, with `more_rows`, one row more.
nb::object vary_inputs(nb::handle inputs, bool more_rows);

}  // namespace modulize
