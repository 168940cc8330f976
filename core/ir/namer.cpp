#include "ir/namer.h"

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

}  // namespace modulize
