#include "passes/pass.h"

namespace modulize {

const PassInfo* find_pass(std::string_view name) {
  for (const PassInfo& pass : all_passes())
    if (pass.name == name) return &pass;
  return nullptr;
}

}  // namespace modulize
