#include "support/error.h"

namespace modulize {

std::string_view error_name(ErrorCode code) {
  switch (code) {
#define MODULIZE_ERROR(name, parent, text) \
  case ErrorCode::name:                    \
    return #name;
#include "support/errors.def"
#undef MODULIZE_ERROR
  }
  return "ModulizeError";
}

}  // namespace modulize
