// Which texts may stand as a name in Python source.
#pragma once

#include <string_view>

namespace modulize {

/// A name that means in source what it says: ASCII letters, digits and `_`, no digit first, no keyword of any Python
/// from 3.9 on. Names beyond ASCII are refused, as Python's parser normalises them (NFKC): `self.ﬁ` reads "fi".
bool is_plain_identifier(std::string_view text);

/// Like the above, but letters beyond ASCII are accepted: for parameters, which come from a signature that Python
/// itself has parsed. No byte above 0x7f can end a name or a line, so nothing else can hide in the text.
bool is_parameter_name(std::string_view text);

/// Names of Python's `builtins` module that source may use without import.
bool is_builtin(std::string_view text);

}  // namespace modulize
