// The names under which nn.Module keeps what is its own. Defined in module_scan.cpp.
#pragma once

#include "bridge/python/python.h"

namespace modulize {

/// nn.Module's own registries of hooks and the like: empty ones are not worth a copy, forward does not fill them.
bool is_registry(PyObject* name);

/// What nn.Module itself keeps in each instance.
bool is_own_attribute(PyObject* name);

}  // namespace modulize
