#include "ir/namer.h"

#include "ir/fx_names.h"

namespace modulize {

std::pair<std::string_view, std::string_view> split_path(std::string_view path) {
  const std::size_t dot = path.rfind('.');
  if (dot == std::string_view::npos) return {std::string_view(), path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

std::string join_path(std::string_view parent, std::string_view child) {
  std::string out(parent);
  if (!out.empty()) out += '.';
  out += child;
  return out;
}

std::string new_module_path(const ModuleTree& tree, std::string_view scope_path, std::string_view base,
                            std::uint32_t number) {
  const std::string stem = join_path(scope_path, "module_") + std::string(base);
  for (;; ++number) {
    std::string path = number == 0 ? stem : stem + "_" + std::to_string(number);
    if (!tree.is_taken(path)) return path;
  }
}

std::string free_path(const ModuleTree& tree, std::string path) {
  if (!tree.is_taken(path)) return path;
  const std::string_view digits = trailing_number(path);
  std::uint64_t number = digits.empty() ? 0 : std::stoull(std::string(digits));
  if (!digits.empty()) path.resize(path.size() - digits.size() - 1);
  for (;;) {
    std::string next = path + "_" + std::to_string(++number);
    if (!tree.is_taken(next)) return next;
  }
}

}  // namespace modulize
