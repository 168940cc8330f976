#include "passes/pass.h"

namespace modulize {

const PassInfo* find_pass(std::string_view name) {
  for (const PassInfo& pass : all_passes())
    if (pass.name == name) return &pass;
  return nullptr;
}

bool set_option(PassOptions& options, std::string_view word) {
  if (word == "layout_modules")
    options.layout_modules = true;
  else if (word == "plain_sizes")
    options.plain_sizes = true;
  else if (word == "copy_parameters")
    options.tie_parameters = false;
  else if (word == "decompose_attention")
    options.decompose_attention = true;
  else if (word == "idioms")
    options.idioms = true;
  else
    return false;
  return true;
}

}  // namespace modulize
