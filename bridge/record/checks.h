// Checks that the prepared model makes when it is called: what a capture has assumed.
#pragma once

#include <string>

#include "bridge/record/recorder.h"

namespace modulize {

/// The check that `value` still is `expected`; `text` says what was assumed.
void add_check(Recorder& recorder, NodeId value, Value expected, const std::string& text);

/// The same of what the user's code that runs now has taken for granted: the check says where.
void add_check_here(Recorder& recorder, NodeId value, Value expected, const std::string& text);

/// The check that the object that `value` yields still has the structure (structure_of) that it had.
void add_structure_check(Recorder& recorder, NodeId value, nb::handle structure, const std::string& text);

/// The check that what kept code has made is of the kind that it was, as Python decides by it: where a further capture
/// makes something else, more is kept. `follows_numbers`: those in it become traced numbers.
void check_made(Recorder& recorder, nb::handle value, NodeId node, const std::string& text, bool follows_numbers);

}  // namespace modulize
