// Questions about text that several layers ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace modulize {

/// [A-Za-z_][A-Za-z0-9_]*. Python allows more (non-ASCII letters); such names are quoted in the text form.
bool is_identifier(std::string_view text);

/// A Python keyword (soft keywords are not): an identifier that generated code cannot use as a name.
bool is_python_keyword(std::string_view text);

/// Words of [A-Za-z0-9_] joined by single dots, such as "layer1.0.conv1": stands unquoted in the text form.
bool is_plain_path(std::string_view text);

/// Identifiers joined by single dots, such as "torch.float32".
bool is_qualified_name(std::string_view text);

struct CodePoint {
  /// The code point; a surrogate where the text holds one (three bytes, as Python's "surrogatepass" writes it).
  /// For a byte that is not UTF-8: 0xdc00 + byte, as Python's "surrogateescape" reads it.
  std::uint32_t value;
  /// Bytes it takes in the text, at least 1.
  std::size_t length;
  bool valid;
};

/// The code point at the front of `text`, which is not empty.
CodePoint decode_code_point(std::string_view text);

/// Appends `value` (at most 0x10ffff) in UTF-8; surrogates in three bytes.
void append_code_point(std::string& out, std::uint32_t value);

/// Number of edits that turn `a` into `b`: for "did you mean".
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace modulize
