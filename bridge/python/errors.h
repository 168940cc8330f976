// Errors across the border: core Error <-> the Python classes made from support/errors.def.
#pragma once

#include "bridge/python/python.h"
#include "support/error.h"

namespace modulize {

/// Creates one Python class per entry of errors.def in the module `m`, and teaches nanobind to translate Error.
void bind_errors(nb::module_& m);

/// Sets the Python error for `error`. For C slots, which nanobind does not guard.
void set_error(const Error& error);

/// Called with every error that a C slot turns into Python's: what runs there may catch it. Null: nobody asks.
extern void (*error_listener)(const Error& error);

/// True if the Python error is the one that `set_error` made of an Error with this code.
bool is_error(const nb::python_error& error, ErrorCode code);

/// Is the Python error one of ours?
bool is_own(nb::python_error& error);

/// Runs `body` in a C slot: a C++ exception becomes the Python error, and `failed` is returned.
template <class Result, class Body>
Result guarded(Result failed, Body&& body) {
  try {
    return body();
  } catch (nb::python_error& e) {
    e.restore();
  } catch (const Error& e) {
    set_error(e);
  } catch (const std::exception& e) {
    set_error(Error(ErrorCode::ModulizeError, std::string("internal error: ") + e.what()));
  }
  return failed;
}

/// True where an exception ends the preparation whoever raised it: what is no Exception (an interrupt is the user's),
/// and where memory has run out, torch's own word for that included.
bool is_fatal(nb::python_error& error);

}  // namespace modulize
