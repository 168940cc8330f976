// What each file of this folder adds to the extension module.
#pragma once

#include "bridge/python/python.h"

namespace modulize {

void init_graph(nb::module_& m);
void init_world(nb::module_& m);
void init_tables(nb::module_& m);
void init_preparation(nb::module_& m);

}  // namespace modulize
