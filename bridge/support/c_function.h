// What every file that gives Python a C function needs.
#pragma once

#include "bridge/support/python.h"

namespace modulize {

/// The form in which a method table wants a function of any calling convention.
template <class F>
PyCFunction as_c_function(F* f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

}  // namespace modulize
