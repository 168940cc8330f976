// Python parameter lists, as the rows of the op table spell them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/value.h"

namespace modulize {

struct Parameter {
  enum class Kind : std::uint8_t { normal, keyword_only, var_positional, var_keyword };
  std::string name;
  Kind kind = Kind::normal;
  bool has_default = false;
  Value default_value;
};

/// "input, dim=None, *, dtype=None". Defaults are Python literals or qualified names.
/// Throws Error(ModulizeError): a malformed row is a defect of the table.
std::vector<Parameter> parse_signature(std::string_view text);

/// One Python literal: None, True, 1, -0.5, 'none', (1, 1), torch.float32.
Value parse_literal(std::string_view text);

/// Splits at commas outside of brackets and quotes; items are trimmed, empty ones dropped.
std::vector<std::string_view> split_list(std::string_view text);

std::string_view trim(std::string_view text);

}  // namespace modulize
