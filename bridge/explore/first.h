// The first capture, and what of it is refused without inputs.
#pragma once

#include "bridge/capture/capture.h"

namespace modulize {

/// Did Python code say `raise` (or `assert`), rather than something inside of torch fail?
bool is_explicit_raise(nb::python_error& error);

/// The first capture. Without values, as without inputs or on the meta device, a decision is taken to be true; where
/// forward raises then, it is an assertion, and the last decision is taken the other way. So it is where only the other
/// side can do without values.
void capture_first(nb::handle root, CaptureOptions options, Capture& capture);

/// Throws where a symbolic capture that finds what the first left outside of the model records something else: it would
/// be frozen.
void require_no_outside_state(nb::handle root, CaptureOptions options, const Capture& first);

/// What forward raises itself is the user's, unchanged. Anything else may be for the symbols.
void refuse_symbols(nb::python_error& error);

}  // namespace modulize
