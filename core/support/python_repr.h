// Literals as Python writes them. The text form and the generated code both spell them through these functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace modulize {

/// CPython's repr of a str, character for character. `text` is UTF-8; a lone surrogate is written in three bytes, as
/// str.encode("utf-8", "surrogatepass") does. Bytes that are not UTF-8 come out as str.decode("utf-8",
/// "surrogateescape") would show them: '\udcff'. What counts as printable is Unicode 14, that of CPython 3.11.
std::string python_repr(std::string_view text);

/// CPython's repr of a float, but for the three that have no literal: `float("inf")`, `float("-inf")` and
/// `float("nan")`, which are expressions that evaluate to the value. The sign and the payload of a nan are lost.
std::string python_repr(double value);

/// CPython's repr of an int.
std::string python_repr(std::int64_t value);

void append_repr(std::string& out, std::string_view text);
void append_repr(std::string& out, double value);
void append_repr(std::string& out, std::int64_t value);

/// Like python_repr, but always in double quotes: labels, file names and odd paths in the text form.
void append_quoted(std::string& out, std::string_view text);
std::string quoted(std::string_view text);

}  // namespace modulize
