#include "validate/validate.h"

#include "ops/op_match.h"
#include "support/python_repr.h"
#include "validate/rule.h"

namespace modulize {

std::string_view finding_name(FindingKind kind) {
  switch (kind) {
    case FindingKind::reused_module:
      return "reused_module";
    case FindingKind::functional:
      return "functional";
    case FindingKind::opaque_module:
      return "opaque_module";
    case FindingKind::control_flow:
      return "control_flow";
    case FindingKind::non_tensor_input:
      return "non_tensor_input";
    case FindingKind::non_tensor_output:
      return "non_tensor_output";
    case FindingKind::unused_module:
      return "unused_module";
    case FindingKind::shared_parameter:
      return "shared_parameter";
  }
  return "";
}

bool is_error(FindingKind kind) {
  return kind == FindingKind::reused_module || kind == FindingKind::functional || kind == FindingKind::opaque_module;
}

bool is_known_class(std::string_view type) {
  return type.starts_with("torch.nn.") || type.starts_with("modulize.") || type.starts_with("torch.ao.") ||
         find_op_of_module(type) != nullptr;
}

bool ModelView::is_used(std::string_view path) const {
  for (; !path.empty(); path = split_path(path).first)
    if (called.contains(path) || read.contains(path)) return true;
  return false;
}

std::string shown_path(std::string_view path) { return path.empty() ? "the model" : python_repr(path); }

namespace {

void collect(const Graph& graph, const std::string& root, std::vector<GraphPart>& out) {
  out.push_back({&graph, root});
  for (const ModuleSpec& spec : graph.modules.modules()) {
    if (spec.kind == ModuleKind::graph) collect(*spec.graph, join_path(root, spec.path), out);
    if (spec.kind != ModuleKind::branch) continue;
    collect(*spec.graph, root, out);
    collect(*spec.graph_else, root, out);
  }
}

}  // namespace

std::vector<Finding> validate(const Graph& graph, const ModelFacts& facts) {
  ModelView model{{}, facts};
  collect(graph, "", model.parts);
  model.for_each_node([&](const GraphPart& part, const Node& node) {
    if (node.op == Opcode::call_module) model.called.insert(part.path(node.target));
    if (node.op == Opcode::get_attr) model.read.insert(part.path(split_path(node.target).first));
  });
  // By code that is kept whole.
  for (const GraphPart& part : model.parts)
    for (const ModuleSpec& spec : part.graph->modules.modules())
      if (spec.kind == ModuleKind::constructed) model.called.insert(part.path(spec.path));
  Findings out;
  for (const auto rule : {find_reused_modules, find_functionals, find_opaque_modules, find_control_flow,
                          find_non_tensors, find_unused_modules, find_shared_parameters})
    rule(model, out);
  return out;
}

}  // namespace modulize
