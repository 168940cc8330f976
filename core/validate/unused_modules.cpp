// A module that forward never calls: a quantizer there never sees data.
#include "validate/rule.h"

namespace modulize {

void find_unused_modules(const ModelView& model, Findings& out) {
  for (const ModelFacts::Module& leaf : model.facts.leaves) {
    if (model.is_used(leaf.path)) continue;
    out.push_back({FindingKind::unused_module, leaf.path, "",
                   "the module " + shown_path(leaf.path) + ", a " + std::string(class_name(leaf.type)) +
                       ", is never called: a quantizer in it gets no range",
                   "leave it out of the quantized modules; it stays for its state_dict keys"});
  }
}

}  // namespace modulize
