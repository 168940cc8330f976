// Calls of modules out of code that is kept whole: what those modules are prepared with.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

/// The arguments of one call: copies, with plain numbers in place of traced ones.
struct InnerCall {
  nb::object args;    // tuple
  nb::object kwargs;  // dict or None
};

/// By path of the module. Of calls alike in structure only the first is here.
using InnerCalls = std::map<std::string, std::vector<InnerCall>>;

/// Adds a copy of the arguments, unless a call like it is known or there are enough. `args`: borrowed, positional ones
/// first, then the `kwnames`' (null: none).
void note_inner_call(InnerCalls& calls, const std::string& path, PyObject* const* args, Py_ssize_t nargs,
                     PyObject* kwnames);

/// Adds those of `more` that are not like one in `calls`.
void merge_inner_calls(InnerCalls& calls, const InnerCalls& more);

}  // namespace modulize
