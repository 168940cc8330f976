// A module that forward never calls: a quantizer there never sees data.
#include <set>

#include "validate/rule.h"

namespace modulize {

void find_unused_modules(const ModelView& model, Findings& out) {
  std::set<std::string, std::less<>> called;
  model.for_each_node([&](const GraphPart& part, const Node& node) {
    if (node.op == Opcode::call_module) called.insert(part.path(node.target));
    // Its parameters may be read without a call, as by F.linear(x, self.fc.weight).
    if (node.op == Opcode::get_attr) called.insert(part.path(split_path(node.target).first));
  });
  const auto runs = [&](std::string_view path) {
    for (;; path = split_path(path).first) {  // inside of a module that is called as one
      if (!path.empty() && called.contains(path)) return true;
      if (path.empty()) return false;
    }
  };
  for (const ModelFacts::Module& leaf : model.facts.leaves) {
    if (runs(leaf.path)) continue;
    out.push_back({FindingKind::unused_module, leaf.path, "",
                   "the module " + shown_path(leaf.path) + ", a " + std::string(class_name(leaf.type)) +
                       ", is never called: a quantizer in it gets no range",
                   "leave it out of the quantized modules; it stays for its state_dict keys"});
  }
}

}  // namespace modulize
