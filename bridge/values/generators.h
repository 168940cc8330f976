// Generators of random numbers: torch's, Python's, numpy's.
#pragma once

#include "bridge/python/python.h"

namespace modulize {

/// True for objects that draw random numbers: torch.Generator, random.Random, numpy's Generator and RandomState.
bool is_generator(PyObject* object);

/// What a generator will draw, and the way back. GIL held; throw nb::python_error.
nb::object generator_state(nb::handle generator);
void set_generator_state(nb::handle generator, const nb::object& state);

/// Another generator in the same state.
nb::object copy_generator(nb::handle generator);

}  // namespace modulize
