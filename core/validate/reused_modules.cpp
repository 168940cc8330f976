// A module that is called several times: its calls would share one activation range.
#include <map>

#include "validate/rule.h"

namespace modulize {

void find_reused_modules(const ModelView& model, Findings& out) {
  std::map<std::string, std::size_t> finding_of;  // path -> index into `calls`
  struct Calls {
    std::string path;
    std::vector<std::string> places;
  };
  std::vector<Calls> calls;
  model.for_each_node([&](const GraphPart& part, const Node& node) {
    if (node.op != Opcode::call_module) return;
    const std::string path = part.path(node.target);
    const auto [it, fresh] = finding_of.emplace(path, calls.size());
    if (fresh) calls.push_back({path, {}});
    calls[it->second].places.push_back(part.graph->where(node));
  });
  for (const Calls& module : calls) {
    if (module.places.size() < 2) continue;
    std::string message = "the module " + shown_path(module.path) + " is called " +
                          std::to_string(module.places.size()) + " times: its calls share one activation range";
    std::string others;
    for (std::size_t i = 1; i < module.places.size() && i < 4; ++i)
      if (!module.places[i].empty()) others += (others.empty() ? "; again at " : ", ") + module.places[i];
    out.push_back({FindingKind::reused_module, module.path, module.places[0], message + others,
                   "prepare_model makes one module a call; or define one module for each call"});
  }
}

}  // namespace modulize
