#include "ir/module_tree.h"

#include "support/error.h"

namespace modulize {

ModuleSpec& ModuleTree::add(ModuleSpec spec) {
  if (!index_.emplace(spec.path, std::pair(What::module, modules_.size())).second)
    throw Error(ErrorCode::VerifierError, "the path '" + spec.path + "' is taken already");
  modules_.push_back(std::move(spec));
  return modules_.back();
}

void ModuleTree::add_tensor(TensorSpec spec) {
  if (!index_.emplace(spec.path, std::pair(What::tensor, tensors_.size())).second)
    throw Error(ErrorCode::VerifierError, "the path '" + spec.path + "' is taken already");
  tensors_.push_back(std::move(spec));
}

void ModuleTree::add_taken(std::string path) {
  if (index_.emplace(path, std::pair(What::taken, taken_.size())).second) taken_.push_back(std::move(path));
}

const ModuleSpec* ModuleTree::find(std::string_view path) const {
  const auto it = index_.find(path);
  return it != index_.end() && it->second.first == What::module ? &modules_[it->second.second] : nullptr;
}

ModuleSpec* ModuleTree::find(std::string_view path) {
  return const_cast<ModuleSpec*>(static_cast<const ModuleTree*>(this)->find(path));
}

const TensorSpec* ModuleTree::find_tensor(std::string_view path) const {
  const auto it = index_.find(path);
  return it != index_.end() && it->second.first == What::tensor ? &tensors_[it->second.second] : nullptr;
}

bool ModuleTree::is_taken(std::string_view path) const { return index_.find(path) != index_.end(); }

void ModuleTree::reindex() {
  index_.clear();
  for (std::size_t i = 0; i < modules_.size(); ++i) index_.emplace(modules_[i].path, std::pair(What::module, i));
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].path, std::pair(What::tensor, i));
  for (std::size_t i = 0; i < taken_.size(); ++i) index_.emplace(taken_[i], std::pair(What::taken, i));
}

}  // namespace modulize
