// From a qualified name to the Python object it stands for.
#pragma once

#include <string_view>

#include "bridge/python/python.h"

namespace modulize {

/// "torch.nn.functional.relu" -> the function; modules on the way are imported. Throws Error(ModulizeError) if nothing
/// stands under the name; an exception of an imported module passes through.
nb::object resolve_name(std::string_view qualified);

}  // namespace modulize
