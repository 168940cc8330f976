// What the code generator asks about the live module tree.
#pragma once

#include <string_view>

#include "bridge/python/python.h"
#include "codegen/codegen.h"

namespace modulize {

/// The module at `path`, by `_modules` alone; borrowed from the tree, null if there is none. `root` itself for "".
PyObject* find_module(PyObject* root, std::string_view path);

/// Answers about the tree below `root`, which must stay as it is meanwhile. `root` must outlive the queries.
/// `for_reading`: also whether attributes and indices reach the modules, which reads attributes of the model.
TreeQueries tree_queries(nb::handle root, bool for_reading);

}  // namespace modulize
