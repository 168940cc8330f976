// Bracketed calls (ir/blocks.h) become graph modules: each block of the model is callable by itself.
//
//   %b = call_function modulize.blocks.begin("fc", (("x", "positional_or_keyword"),), %x) in fc
//   %a = call_module fc.linear(%x) in fc
//   %c = call_module fc.module_relu(%a) in fc
//   %e = call_function modulize.blocks.end(%b, %c) in fc
//   output %c
// ==>
//   module fc = graph Block {
//     %x = placeholder x
//     %a = call_module linear(%x)
//     %c = call_module module_relu(%a)
//     output %c
//   }
//   %fc = call_module fc(%x)
//   output %fc
//
// Parameters and result are those of the module's forward. A value that comes from around the block in another way is
// a further keyword parameter, unless it can be had of the parameters again (a size). A value that leaves in another
// way goes into a dict that the caller hands in. Numbers, texts and None among the arguments are what they were, or the
// block raises. A further call of a module is a block of its own, beside it, and takes the modules made for it along.
//
// What cannot stand alone is part of the block around it: calls whose brackets do not nest with branches and regions,
// that call modules from elsewhere in the tree, or return what the graph does not know.
#include <set>

#include "ir/control.h"
#include "ir/namer.h"
#include "passes/block_call.h"
#include "passes/pass.h"

namespace modulize {

namespace {

std::string last_of(std::string_view dotted) { return std::string(split_path(dotted).second); }

class Outline {
 public:
  Outline(Graph& graph, const PassContext& context) : graph_(graph), context_(context) {}

  bool run() {
    std::vector<NodeId> brackets;
    for (const NodeId id : graph_.order()) {
      if (is_call_of(graph_[id], kBeginBlock) || is_call_of(graph_[id], kEndBlock)) brackets.push_back(id);
      if (graph_[id].op == Opcode::call_module) called_whole_.insert(graph_[id].target);
    }
    if (brackets.empty()) return false;
    for (const BlockBrackets& pair : nested_blocks(graph_)) outline(pair.begin, pair.end);
    for (auto it = brackets.rbegin(); it != brackets.rend(); ++it) {
      if (!graph_[*it].alive) continue;
      graph_.replace_uses(*it, Value::none());
      graph_.erase(*it);
    }
    return true;
  }

 private:
  void outline(NodeId begin, NodeId end) {
    std::optional<std::vector<BlockParameter>> parameters = block_parameters(graph_[begin]);
    if (!parameters) return;
    OutlinedBlock block{.begin = begin,
                        .end = end,
                        .home = graph_[begin].args[0].text(),
                        .path = {},
                        .parameters = std::move(*parameters),
                        .nodes = {},
                        .inside = std::vector<bool>(graph_.id_limit(), false),
                        .result = graph_[end].args[1]};
    for (NodeId id = graph_[begin].next; id != end; id = graph_[id].next) {
      // A call inside that was dropped.
      if (is_call_of(graph_[id], kBeginBlock) || is_call_of(graph_[id], kEndBlock)) continue;
      block.nodes.push_back(id);
      block.inside[id] = true;
    }
    const ModuleSpec* spec = graph_.modules.find(block.home);
    if ((!spec && !homes_.contains(block.home)) || holds_unknown(block.result) || called_whole_.contains(block.home))
      return;
    const std::uint32_t number = calls_[block.home]++;
    const bool is_first = number == 0 && spec && spec->kind == ModuleKind::existing;
    const auto [parent, last] = split_path(block.home);
    block.path = is_first ? block.home : new_module_path(graph_.modules, parent, last, number);
    if (is_first) homes_[block.home] = {spec->type, spec->training};
    const std::string& type = homes_[block.home].type;
    if (!can_stand_alone(block)) return;

    take_along(block);
    hoist_reads(block);
    const BlockOutputs outputs = outputs_of(block);
    const BlockGraph inner =
        build_block_graph(graph_, block, outputs.handed_out, last_of(type.empty() ? block.home : type));
    add_module(block, inner.graph, is_first);
    const NodeId call = write_block_call(graph_, block, inner, outputs);
    tell(block, call);
    erase(block);
  }

  // Its modules are its own or new, and what it reads otherwise are tensors and mode flags.
  bool can_stand_alone(const OutlinedBlock& block) const {
    for (const NodeId id : block.nodes) {
      const Node& node = graph_[id];
      if (node.op == Opcode::call_module && !is_below(node.target, block.path)) {
        const ModuleSpec* spec = graph_.modules.find(node.target);
        if (!spec || spec->kind == ModuleKind::existing || (spec->kind == ModuleKind::graph && spec->base.empty()))
          return false;
      }
      if (node.op == Opcode::get_attr && !is_readable(node.target, block.path)) return false;
    }
    return true;
  }

  bool is_readable(const std::string& target, const std::string& path) const {
    return target == path || is_below(target, path) || graph_.modules.find_tensor(target) ||
           last_of(target) == "training";
  }

  // New modules that stand elsewhere come into the block: those of a module called before, or made from one elsewhere.
  void take_along(const OutlinedBlock& block) {
    for (const NodeId id : block.nodes) {
      const Node& node = graph_[id];
      if (node.op != Opcode::call_module || is_below(node.target, block.path)) continue;
      const ModuleSpec spec = *graph_.modules.find(node.target);
      const bool is_copy = spec.kind == ModuleKind::copy || spec.kind == ModuleKind::graph;
      const std::string stem = join_path(block.path, is_copy ? spec.base : "module_" + spec.base);
      std::string path = stem;
      for (int n = 1; graph_.modules.is_taken(path); ++n) path = stem + "_" + std::to_string(n);
      rename(spec.path, path);
      for (const NodeId other : block.nodes)
        if (graph_[other].op == Opcode::call_module && graph_[other].target == spec.path) graph_[other].target = path;
    }
  }

  // The module, and those below it.
  void rename(const std::string& from, const std::string& to) {
    std::vector<ModuleSpec> moved;
    for (const ModuleSpec& spec : graph_.modules.modules())
      if (spec.path == from || is_below(spec.path, from)) moved.push_back(spec);
    graph_.modules.filter([&](const ModuleSpec& spec) { return spec.path != from && !is_below(spec.path, from); });
    for (ModuleSpec& spec : moved) {
      spec.path = to + spec.path.substr(from.size());
      graph_.modules.add(std::move(spec));
    }
  }

  // What the block reads from elsewhere in the tree is read in front of it.
  void hoist_reads(OutlinedBlock& block) {
    std::vector<NodeId> kept;
    for (const NodeId id : block.nodes) {
      const Node& node = graph_[id];
      // A further call of a module has the module's direct tensors and a mode flag of its own.
      if (node.op == Opcode::get_attr && split_path(node.target).first == block.home && block.path != block.home) {
        const std::string name = last_of(node.target), path = join_path(block.path, name);
        const TensorSpec* tensor = graph_.modules.find_tensor(node.target);
        if (tensor && !graph_.modules.find_tensor(path))
          graph_.modules.add_tensor({path, tensor->kind, tensor->dtype, tensor->shape});
        if (tensor || name == "training") graph_[id].target = path;
      }
      if (node.op != Opcode::get_attr || node.target == block.path || is_below(node.target, block.path)) {
        kept.push_back(id);
        continue;
      }
      Node read = node;
      read.name.clear();
      read.scope = graph_.scope(graph_[block.begin].scope).parent;
      const NodeId outside = graph_.insert_before(block.begin, std::move(read));
      block.inside.resize(graph_.id_limit(), false);
      graph_.replace_uses(id, Value::node(outside));
      if (block.result.has_node())
        block.result = block.result.map_nodes([&](NodeId in) { return Value::node(in == id ? outside : in); });
      graph_.erase(id);
      block.inside[id] = false;
    }
    block.nodes = std::move(kept);
  }

  // What is read behind the block, and the ways by which it gets there.
  BlockOutputs outputs_of(const OutlinedBlock& block) const {
    BlockOutputs out;
    std::set<NodeId> seen;
    for (NodeId id = graph_[block.end].next; id != kNoNode; id = graph_[id].next)
      graph_[id].for_each_input([&](NodeId in) {
        if (block.holds(in) && seen.insert(in).second) out.read.push_back(in);
      });
    ValuePath path;
    find_paths(block.result, path, out.results);
    const Node& end = graph_[block.end];
    if (end.args.size() > 2 && end.args[2].is(ValueKind::tuple))
      for (const Value& part : end.args[2].items()) {
        const ValueList& entry = part.items();
        path = {entry[0] == Value::string("attribute") ? Value::name(entry[1].text()) : entry[1]};
        find_paths(entry[2], path, out.results);
      }
    std::erase_if(out.results, [&](const auto& entry) { return !block.inside[entry.first]; });
    for (const NodeId id : out.read)
      if (!can_repeat(graph_, id, [&](NodeId in) { return out.results.contains(in) || !block.inside[in]; }))
        out.handed_out.push_back(id);
    return out;
  }

  void add_module(const OutlinedBlock& block, std::shared_ptr<const Graph> inner, bool is_first) {
    ModuleSpec spec;
    spec.path = block.path;
    spec.kind = ModuleKind::graph;
    spec.graph = std::move(inner);
    if (!is_first) {
      spec.base = last_of(block.home);
      spec.training = homes_[block.home].training;
      spec.copy_of = block.home;
      spec.untied = !context_.options.tie_parameters;
    }
    if (ModuleSpec* known = graph_.modules.find(block.path))
      *known = std::move(spec);
    else
      graph_.modules.add(std::move(spec));
  }

  void tell(const OutlinedBlock& block, NodeId call) const {
    if (!context_.conversions) return;
    context_.conversions->push_back({.pass = "outline_blocks",
                                     .from = block.home,
                                     .to = "torch.fx.GraphModule",
                                     .path = block.path,
                                     .scope = graph_.scope(graph_[call].scope).path,
                                     .where = graph_.where(graph_[call])});
  }

  // The nodes, which the call stands for now, with the brackets around them and those of calls inside that were
  // dropped.
  void erase(const OutlinedBlock& block) {
    graph_.erase(block.end);
    for (auto it = block.nodes.rbegin(); it != block.nodes.rend(); ++it) graph_.erase(*it);
    for (NodeId id = graph_[block.begin].next; is_call_of(graph_[id], kBeginBlock) || is_call_of(graph_[id], kEndBlock);
         id = graph_[block.begin].next)
      graph_.erase(id);
    graph_.erase(block.begin);
  }

  Graph& graph_;
  const PassContext& context_;
  std::set<std::string> called_whole_;  // modules that a node calls as they are: they stay so
  std::map<std::string, std::uint32_t> calls_;
  struct Home {
    std::string type;
    bool training = false;
  };
  std::map<std::string, Home> homes_;
};

}  // namespace

PassResult outline_blocks(Graph& graph, const PassContext& context) {
  if (!Outline(graph, context).run()) return {};
  // What only the inside of a block used, and is computed there now.
  find_pass("dead_code")->run(graph, context);
  return {.modified = true};
}

}  // namespace modulize
