// A module of an unknown class that runs as one call: what it computes inside, no quantizer sees.
#include <set>

#include "validate/rule.h"

namespace modulize {

void find_opaque_modules(const ModelView& model, Findings& out) {
  std::set<std::string> met;
  model.for_each_node([&](const GraphPart& part, const Node& node) {
    if (node.op != Opcode::call_module) return;
    const ModuleSpec* spec = part.graph->modules.find(node.target);
    if (!spec || spec->kind != ModuleKind::existing || is_known_class(spec->type)) return;
    const std::string path = part.path(node.target);
    if (!met.insert(path).second) return;
    out.push_back({FindingKind::opaque_module, path, part.graph->where(node),
                   "the module " + shown_path(path) + ", a " + std::string(class_name(spec->type)) +
                       ", runs as one call: what it computes inside is not prepared",
                   "if it was kept whole, prepared.report.kept says why; if it was excluded, give it a quantizer of "
                   "its own"});
  });
}

}  // namespace modulize
