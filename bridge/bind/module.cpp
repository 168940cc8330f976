// The extension module modulize._core: no logic of its own.
#include "bridge/bind/init.h"
#include "bridge/python/errors.h"
#include "bridge/values/structure.h"
#include "bridge/values/traced_number.h"

namespace modulize {
void bind_materialise(nb::module_& m);
}  // namespace modulize

NB_MODULE(_core, m) {
  using namespace modulize;
#ifndef MODULIZE_TELLS_LEAKS
  nb::set_leak_warnings(false);  // a script that ends by an exception keeps its objects to the end
#endif
  if (!init_traced_number_types()) throw nb::python_error();
  bind_errors(m);
  bind_materialise(m);
  bind_structure(m);
  init_graph(m);
  init_preparation(m);
  init_world(m);
  init_tables(m);
}
