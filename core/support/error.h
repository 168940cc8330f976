// The one exception type of the core. The bridge turns its code into the Python class of that name.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace modulize {

enum class ErrorCode {
#define MODULIZE_ERROR(name, parent, text) name,
#include "support/errors.def"
#undef MODULIZE_ERROR
};

/// "CaptureError" for ErrorCode::CaptureError.
std::string_view error_name(ErrorCode code);

/// Thrown by value, caught by reference. `what()` is lower-case, one message: what went wrong, where
/// (node, module path or file:line), the actual value, and the way out.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace modulize
