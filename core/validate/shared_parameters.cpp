// A tensor that several modules hold: what a tool does to one module's weight, it does to the others'.
#include <algorithm>
#include <map>

#include "support/python_repr.h"
#include "validate/rule.h"

namespace modulize {

namespace {

bool is_one_of(std::string_view type, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words)
    if (class_name(type).find(word) != std::string_view::npos) return true;
  return false;
}

}  // namespace

void find_shared_parameters(const ModelView& model, Findings& out) {
  std::map<std::string, std::string, std::less<>> type_of;
  for (const ModelFacts::Module& leaf : model.facts.leaves) type_of.emplace(leaf.path, leaf.type);
  for (const std::vector<std::string>& names : model.facts.shared_tensors) {
    // A weight that a new module adopted from one that is never called is used once.
    const auto is_called = [&](const std::string& name) { return model.called.contains(split_path(name).first); };
    if (std::count_if(names.begin(), names.end(), is_called) < 2) continue;
    bool folds = false, normalises = false;
    std::string text;
    for (const std::string& name : names) {
      text += (text.empty() ? "" : ", ") + python_repr(std::string_view(name));
      const auto type = type_of.find(split_path(name).first);
      if (type == type_of.end()) continue;
      folds |= is_one_of(type->second, {"Conv", "Linear"});
      normalises |= is_one_of(type->second, {"BatchNorm"});
    }
    const std::string breaks = folds        ? "folding a batch norm into one, or equalization across layers, scales all"
                               : normalises ? "folding one away leaves the others' statistics scaled"
                                            : "rounding learned for one is wrong for the others";
    out.push_back({FindingKind::shared_parameter, std::string(split_path(names[0]).first), "",
                   "one tensor stands under " + text + ": " + breaks,
                   "leave these modules out of folding and equalization; or copy the tensor before"});
  }
}

}  // namespace modulize
