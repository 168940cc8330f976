// Brackets of a branch become a module that runs one of two graphs: the program that runs has no brackets.
//
//   %if = call_function modulize.control.begin_if(%d)
//   %a = call_module module_relu(%x)
//   %else = call_function modulize.control.begin_else(%if)
//   %end = call_function modulize.control.end_if(%else, (%a,), (%x,))
//   %r = call_function operator.getitem(%end, 0)
// ==>
//   module module_branch = branch graph on_true {
//     %x = placeholder x
//     %a = call_module module_relu(%x)
//     output (%a,)
//   } else graph on_false {
//     %x = placeholder x
//     output (%x,)
//   }
//   %end = call_module module_branch(%d, %x)
//   %r = call_function operator.getitem(%end, 0)
//
// Paths inside are those of the graph around: the modules stay where they are in the tree.
#include <map>

#include "ir/control.h"
#include "ir/namer.h"
#include "passes/pass.h"

namespace modulize {

namespace {

class Outline {
 public:
  Outline(Graph& graph, const PassContext& context) : graph_(graph), context_(context) {}

  bool run() {
    bool modified = false;
    std::vector<NodeId> open;
    for (NodeId id = graph_.first(); id != kNoNode;) {
      const NodeId next = graph_[id].next;
      if (is_call_of(graph_[id], kBeginIf)) {
        open.push_back(id);
      } else if (is_call_of(graph_[id], kEndIf)) {
        outline(open.back(), graph_[id].args[0].as_node(), id);
        open.pop_back();
        modified = true;
      }
      id = next;
    }
    return modified;
  }

 private:
  void outline(NodeId begin, NodeId middle, NodeId end) {
    // Everything that either side takes from outside, in order of first use.
    std::vector<NodeId> inputs;
    std::vector<bool> inside(graph_.id_limit(), false), known(graph_.id_limit(), false);
    for (NodeId id = graph_[begin].next; id != end; id = graph_[id].next) inside[id] = true;
    const auto take = [&](NodeId in) {
      if (inside[in] || known[in]) return;
      known[in] = true;
      inputs.push_back(in);
    };
    for (NodeId id = graph_[begin].next; id != end; id = graph_[id].next) {
      if (id == middle) continue;
      graph_[id].for_each_input(take);
    }
    for (const std::size_t side : {1u, 2u}) graph_[end].args[side].for_each_node(take);

    ModuleSpec spec;
    spec.kind = ModuleKind::branch;
    spec.graph = side("on_true", begin, middle, inputs, graph_[end].args[1]);
    spec.graph_else = side("on_false", middle, end, inputs, graph_[end].args[2]);
    spec.base = "branch";
    const std::string& parent = graph_.scope(graph_[end].scope).path;
    spec.path = new_module_path(graph_.modules, parent, spec.base, 0);
    const Value condition = graph_[begin].args[0];
    Node& call = graph_[end];
    call.op = Opcode::call_module;
    call.target = spec.path;
    call.args = {condition};
    for (const NodeId in : inputs) call.args.push_back(Value::node(in));
    if (context_.conversions)
      context_.conversions->push_back({.pass = "outline_branches",
                                       .from = "if",
                                       .to = "modulize.Branch",
                                       .path = spec.path,
                                       .scope = parent,
                                       .where = condition.is_node() ? graph_.where(graph_[condition.as_node()]) : ""});
    graph_.modules.add(std::move(spec));
    for (NodeId id = graph_[end].prev;;) {
      const NodeId previous = graph_[id].prev;
      graph_.erase(id);
      if (id == begin) break;
      id = previous;
    }
  }

  std::shared_ptr<const Graph> side(std::string name, NodeId after, NodeId before, const std::vector<NodeId>& inputs,
                                    const Value& results) {
    auto out = std::make_shared<Graph>();
    out->name = std::move(name);
    for (ScopeId s = 1; s < graph_.scopes().size(); ++s) out->add_scope(graph_.scope(s));
    std::map<NodeId, NodeId> made;
    for (const NodeId in : inputs) {
      Node parameter;
      parameter.op = Opcode::placeholder;
      parameter.name = graph_[in].name == "self" ? "self_" : graph_[in].name;
      parameter.target = parameter.name;
      parameter.type = graph_[in].type;
      out->parameter_kinds.push_back(ParameterKind::positional_or_keyword);
      made[in] = out->add(std::move(parameter));
    }
    const auto mapped = [&](const Value& value) {
      return value.map_nodes([&](NodeId in) { return Value::node(made.at(in)); });
    };
    for (NodeId id = graph_[after].next; id != before; id = graph_[id].next) {
      Node copy = graph_[id];
      for (Value& value : copy.args) value = mapped(value);
      for (auto& [key, value] : copy.kwargs) value = mapped(value);
      const Source source = graph_.source(copy.source);
      copy.source = copy.source == kNoSource ? kNoSource : out->add_source(source.file, source.line);
      made[id] = out->add(std::move(copy));
    }
    Node output;
    output.op = Opcode::output;
    output.args = {mapped(results)};
    out->add(std::move(output));
    return out;
  }

  Graph& graph_;
  const PassContext& context_;
};

}  // namespace

PassResult outline_branches(Graph& graph, const PassContext& context) {
  bool modified = false;
  // Blocks have branches of their own.
  std::vector<std::pair<std::string, std::shared_ptr<const Graph>>> changed;
  for (const ModuleSpec& spec : graph.modules.modules()) {
    if (spec.kind != ModuleKind::graph) continue;
    auto block = std::make_shared<Graph>(*spec.graph);
    if (outline_branches(*block, context).modified) changed.emplace_back(spec.path, std::move(block));
  }
  for (auto& [path, block] : changed) {
    graph.modules.find(path)->graph = std::move(block);
    modified = true;
  }
  return {.modified = Outline(graph, context).run() || modified};
}

}  // namespace modulize
