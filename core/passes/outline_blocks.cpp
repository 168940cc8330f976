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
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "ir/blocks.h"
#include "ir/control.h"
#include "ir/namer.h"
#include "ir/printer.h"
#include "ops/op_match.h"
#include "passes/pass.h"

namespace modulize {

namespace {

/// Where a node stands inside a value: the keys to follow.
using Path = std::vector<Value>;
void find_paths(const Value& value, Path& path, std::map<NodeId, Path>& out) {
  const auto step = [&](Value key, const Value& item) {
    path.push_back(std::move(key));
    find_paths(item, path, out);
    path.pop_back();
  };
  if (value.is_node()) {
    out.emplace(value.as_node(), path);
  } else if (value.is(ValueKind::tuple) || value.is(ValueKind::list)) {
    for (std::size_t i = 0; i < value.items().size(); ++i)
      step(Value::integer(static_cast<std::int64_t>(i)), value.items()[i]);
  } else if (value.is(ValueKind::dict)) {
    for (const auto& [key, item] : value.dict_items()) step(key, item);
  }
}

bool is_literal(const Value& value) {
  return value.is_none() || value.is(ValueKind::boolean) || value.is(ValueKind::integer) ||
         value.is(ValueKind::floating) || value.is(ValueKind::string);
}

bool is_below(std::string_view path, std::string_view parent) {
  return path.size() > parent.size() && path.starts_with(parent) && path[parent.size()] == '.';
}

std::string last_of(std::string_view dotted) { return std::string(split_path(dotted).second); }

class Outline {
 public:
  Outline(Graph& graph, const PassContext& context) : graph_(graph), context_(context) {}

  bool run() {
    std::vector<NodeId> brackets;
    for (const NodeId id : graph_.order())
      if (is_call_of(graph_[id], kBeginBlock) || is_call_of(graph_[id], kEndBlock)) brackets.push_back(id);
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
  struct Block {
    NodeId begin, end;
    std::string home;  // path of the module that was called
    std::string path;  // of the graph module
    std::vector<BlockParameter> parameters;
    std::vector<NodeId> nodes;
    std::vector<bool> inside;
    Value result;
  };

  // A size, a number or the like: what it is can be asked again at any time.
  bool is_cheap(const Node& node) const {
    if (node.type == ValueType::tensor || !node.callee.is_none()) return false;
    if (node.op != Opcode::call_function && node.op != Opcode::call_method) return false;
    // Questions about the world around forward, and what it decides by them.
    for (const std::string_view start : {"torch.compiler.is_", "torch.jit.is_", "torch.onnx.is_"})
      if (node.target.starts_with(start)) return node.args.empty();
    if (node.target == kTruth)
      return node.args.size() == 1 && node.args[0].is_node() && is_cheap(graph_[node.args[0].as_node()]);
    if (node.type == ValueType::number || node.type == ValueType::size) {
      if (node.op == Opcode::call_function) {
        const std::string_view home = split_path(node.target).first;
        return home == "operator" || home == "builtins" || home == "math";
      }
      const PassiveRow* row = find_passive(node);
      return row && row->reason == PassiveReason::shape;
    }
    if (node.target != "builtins.getattr" || node.args.size() < 2 || !node.args[1].is(ValueKind::string)) return false;
    const std::string& name = node.args[1].text();
    return name == "shape" || name == "dtype" || name == "device";
  }

  // Can the node be had again where only `given` nodes and what is made of them is there?
  template <class Given>
  bool can_repeat(NodeId id, Given&& given, int depth = 0) const {
    if (given(id)) return true;
    if (depth > 32 || !is_cheap(graph_[id])) return false;
    bool all = true;
    graph_[id].for_each_input([&](NodeId in) { all = all && can_repeat(in, given, depth + 1); });
    return all;
  }

  void outline(NodeId begin, NodeId end) {
    Block block{.begin = begin,
                .end = end,
                .home = graph_[begin].args[0].text(),
                .path = {},
                .parameters = {},
                .nodes = {},
                .inside = std::vector<bool>(graph_.id_limit(), false),
                .result = graph_[end].args[1]};
    if (auto parameters = block_parameters(graph_[begin]))
      block.parameters = std::move(*parameters);
    else
      return;
    for (NodeId id = graph_[begin].next; id != end; id = graph_[id].next) {
      // A call inside that was dropped.
      if (is_call_of(graph_[id], kBeginBlock) || is_call_of(graph_[id], kEndBlock)) continue;
      block.nodes.push_back(id);
      block.inside[id] = true;
    }
    const ModuleSpec* spec = graph_.modules.find(block.home);
    if ((!spec && !homes_.contains(block.home)) || holds_unknown(block.result)) return;
    const std::uint32_t number = calls_[block.home]++;
    const bool is_first = number == 0 && spec && spec->kind == ModuleKind::existing;
    const auto [parent, last] = split_path(block.home);
    block.path = is_first ? block.home : new_module_path(graph_.modules, parent, last, number);
    if (is_first) homes_[block.home] = {spec->type, spec->training};
    const std::string& type = homes_[block.home].type;
    if (!can_stand_alone(block)) return;

    take_along(block);
    hoist_reads(block);
    std::vector<NodeId> outputs = used_outside(block);
    std::map<NodeId, Path> results;
    Path path;
    find_paths(block.result, path, results);
    if (graph_[end].args.size() > 2 && graph_[end].args[2].is(ValueKind::tuple))
      for (const Value& part : graph_[end].args[2].items()) {
        const ValueList& entry = part.items();
        // A step by attribute is a name.
        path = {entry[0] == Value::string("attribute") ? Value::name(entry[1].text()) : entry[1]};
        find_paths(entry[2], path, results);
      }
    std::erase_if(results, [&](const auto& entry) { return !block.inside[entry.first]; });
    std::vector<NodeId> handed_out;
    for (const NodeId id : outputs)
      if (!can_repeat(id, [&](NodeId in) { return results.contains(in) || !block.inside[in]; }))
        handed_out.push_back(id);

    std::vector<NodeId> extra;
    std::shared_ptr<Graph> inner = build(block, handed_out, last_of(type.empty() ? block.home : type), extra);
    replace(block, std::move(inner), is_first, outputs, results, handed_out, extra);
  }

  // Its modules are its own or new, and what it reads otherwise are tensors and mode flags.
  bool can_stand_alone(const Block& block) const {
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
  void take_along(const Block& block) {
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
  void hoist_reads(Block& block) {
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

  std::vector<NodeId> used_outside(const Block& block) const {
    std::vector<NodeId> out;
    std::set<NodeId> seen;
    for (NodeId id = graph_[block.end].next; id != kNoNode; id = graph_[id].next)
      graph_[id].for_each_input([&](NodeId in) {
        if (in < block.inside.size() && block.inside[in] && seen.insert(in).second) out.push_back(in);
      });
    return out;
  }

  std::shared_ptr<Graph> build(const Block& block, const std::vector<NodeId>& handed_out, std::string name,
                               std::vector<NodeId>& extra) {
    auto out = std::make_shared<Graph>();
    out->name = std::move(name);
    Builder builder{*this, block, *out, {}, {}, {}, {}};
    builder.run(handed_out, extra);
    return out;
  }

  /// Writes the graph of a block.
  struct Builder {
    Outline& outline;
    const Block& block;
    Graph& out;
    std::map<NodeId, NodeId> made;                    // node of the graph around -> node inside
    std::map<NodeId, std::pair<NodeId, Path>> given;  // -> placeholder and where in it
    std::map<ScopeId, ScopeId> scopes;
    std::map<std::pair<NodeId, std::string>, NodeId> parts;

    const Graph& graph() const { return outline.graph_; }

    void run(const std::vector<NodeId>& handed_out, std::vector<NodeId>& extra) {
      std::map<NodeId, Path> reachable;
      for (const BlockParameter& p : block.parameters) {
        Path path;
        find_paths(p.value, path, reachable);
      }
      extra = inputs_from_around(reachable);
      add_placeholders(extra, !handed_out.empty());
      for (const NodeId id : block.nodes) made[id] = copy(id);
      for (const NodeId id : handed_out)
        call("modulize._runtime.hand_out",
             {Value::node(taken), Value::string(graph()[id].name), Value::node(made.at(id))}, ValueType::other);
      Node output;
      output.op = Opcode::output;
      output.args = {mapped(block.result)};
      out.add(std::move(output));
      describe_tree();
    }

    // Nodes from around that no parameter gives, and that cannot be had again of those.
    std::vector<NodeId> inputs_from_around(const std::map<NodeId, Path>& reachable) const {
      std::vector<NodeId> found;
      std::set<NodeId> seen;
      const auto is_given = [&](NodeId in) {
        if (reachable.contains(in)) return true;
        const Node& node = graph()[in];
        return node.op == Opcode::get_attr && (node.target == block.path || is_below(node.target, block.path));
      };
      const auto take = [&](NodeId in) {
        if (block.inside[in] || !seen.insert(in).second) return;
        if (!outline.can_repeat(in, is_given)) found.push_back(in);
      };
      for (const NodeId id : block.nodes) graph()[id].for_each_input(take);
      block.result.for_each_node(take);
      return found;
    }

    void add_placeholders(const std::vector<NodeId>& extra, bool hands_out) {
      std::set<std::string> names;
      for (const BlockParameter& p : block.parameters) names.insert(p.name);
      const auto add = [&](std::string name, ParameterKind kind, ValueType type, std::optional<Value> fallback) {
        Node node;
        node.op = Opcode::placeholder;
        node.target = std::move(name);
        node.type = type;
        if (fallback) node.args.push_back(*fallback);
        out.parameter_kinds.push_back(kind);
        return out.add(std::move(node));
      };
      const auto free_name = [&](std::string name) {
        while (name == "self" || !names.insert(name).second) name += "_in";
        return name;
      };
      std::vector<std::pair<const BlockParameter*, NodeId>> added;
      std::vector<std::pair<NodeId, NodeId>> keywords;
      const auto add_extra = [&] {
        for (const NodeId in : extra)
          keywords.emplace_back(
              in, add(free_name(graph()[in].name), ParameterKind::keyword_only, graph()[in].type, Value::ellipsis()));
        if (hands_out) taken = add(free_name("taken"), ParameterKind::keyword_only, ValueType::other, Value::none());
      };
      bool done = false;
      for (const BlockParameter& p : block.parameters) {
        if (p.kind == ParameterKind::var_keyword) {
          add_extra();
          done = true;
        }
        const ValueType type = p.value.is_node() ? graph()[p.value.as_node()].type : ValueType::unknown;
        added.emplace_back(&p, add(p.name, p.kind, type, p.fallback));
      }
      if (!done) add_extra();
      for (const auto& [p, id] : added) {
        std::map<NodeId, Path> found;
        Path path;
        find_paths(p->value, path, found);
        for (auto& [in, where] : found) given.emplace(in, std::pair(id, where));
        if (is_literal(p->value))
          call(std::string(kCheck),
               {Value::node(id), p->value, Value::string("argument '" + p->name + "' of " + block.path)},
               ValueType::other);
      }
      for (const auto& [in, id] : keywords) {
        const std::string where = graph().where(graph()[in]);
        const NodeId value =
            call("modulize._runtime.required",
                 {Value::node(id), Value::string("the block '" + block.path + "' needs '" + out[id].target +
                                                 "' by keyword when it is called by itself: forward takes it from "
                                                 "around the block" +
                                                 (where.empty() ? "" : ", from " + where))},
                 graph()[in].type);
        made[in] = value;
      }
    }

    NodeId call(std::string target, ValueList args, ValueType type) {
      Node node;
      node.op = Opcode::call_function;
      node.target = std::move(target);
      node.args = std::move(args);
      node.type = type;
      return out.add(std::move(node));
    }

    // The node inside that stands for one of the graph around.
    NodeId resolve(NodeId id) {
      if (const auto it = made.find(id); it != made.end()) return it->second;
      if (const auto it = given.find(id); it != given.end()) {
        NodeId at = it->second.first;
        std::string key;
        for (std::size_t i = 0; i < it->second.second.size(); ++i) {
          const Value& step = it->second.second[i];
          key += '#' + print_value(graph(), step);
          const auto [part, fresh] = parts.try_emplace(std::pair(it->second.first, key), kNoNode);
          const bool is_last = i + 1 == it->second.second.size();
          if (fresh)
            part->second =
                call("operator.getitem", {Value::node(at), step}, is_last ? graph()[id].type : ValueType::other);
          at = part->second;
        }
        return made[id] = at;
      }
      return made[id] = copy(id);
    }

    Value mapped(const Value& value) {
      return value.map_nodes([&](NodeId in) { return Value::node(resolve(in)); });
    }

    NodeId copy(NodeId id) {
      Node node = graph()[id];
      node.name.clear();  // two blocks of a class read alike
      for (Value& value : node.args) value = mapped(value);
      for (auto& [key, value] : node.kwargs) value = mapped(value);
      node.callee = mapped(node.callee);
      const Source source = graph().source(node.source);
      node.source = node.source == kNoSource ? kNoSource : out.add_source(source.file, source.line);
      node.scope = block.inside[id] ? scope(node.scope) : kRootScope;
      if (node.op == Opcode::call_module || node.op == Opcode::get_attr)
        node.target = node.target == block.path ? "_modulize_module" : node.target.substr(block.path.size() + 1);
      return out.add(std::move(node));
    }

    // Scopes of calls inside that are no blocks.
    ScopeId scope(ScopeId id) {
      if (const auto it = scopes.find(id); it != scopes.end()) return it->second;
      const Scope& from = graph().scope(id);
      ScopeId to = kRootScope;
      if (is_below(from.path, block.home))
        to = out.add_scope({from.path.substr(block.home.size() + 1), from.call, scope(from.parent)});
      return scopes[id] = to;
    }

    // The part of the tree that the block's graph names.
    void describe_tree() {
      ModuleTree& tree = outline.graph_.modules;
      std::set<std::string> names, graphs;
      const auto add = [&](const std::string& name) {
        if (!names.insert(name).second) return;
        const ModuleSpec* spec = tree.find(join_path(block.path, name));
        if (!spec) return;
        ModuleSpec own;
        own.path = name;
        own.base = spec->base;
        own.training = spec->training;
        if (spec->kind == ModuleKind::graph) {
          own.kind = ModuleKind::graph;
          own.graph = spec->graph;
          own.copy_of = spec->copy_of;
          own.untied = spec->untied;
          graphs.insert(spec->path);
        } else {
          const ModuleSpec* like = spec->kind == ModuleKind::copy ? tree.find(spec->copy_of) : spec;
          own.type = like ? like->type : std::string();
        }
        out.modules.add(std::move(own));
      };
      for (const NodeId id : out.order()) {
        const Node& node = out[id];
        if (node.op == Opcode::call_module) add(node.target);
        if (node.op != Opcode::get_attr || node.target == "_modulize_module") continue;
        const TensorSpec* tensor = tree.find_tensor(join_path(block.path, node.target));
        if (!tensor) {
          if (tree.find(join_path(block.path, node.target))) add(node.target);
        } else if (!out.modules.find_tensor(node.target)) {
          out.modules.add_tensor({node.target, tensor->kind, tensor->dtype, tensor->shape});
        }
      }
      for (const std::string& name : tree.taken())
        if (is_below(name, block.path)) out.modules.add_taken(name.substr(block.path.size() + 1));
      if (!graphs.empty()) tree.filter([&](const ModuleSpec& spec) { return !graphs.contains(spec.path); });
    }

    NodeId taken = kNoNode;
  };

  // The call in place of the nodes.
  void replace(const Block& block, std::shared_ptr<const Graph> inner, bool is_first,
               const std::vector<NodeId>& outputs, const std::map<NodeId, Path>& results,
               const std::vector<NodeId>& handed_out, const std::vector<NodeId>& extra) {
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
    if (ModuleSpec* known = graph_.modules.find(block.path)) {
      *known = std::move(spec);
    } else {
      graph_.modules.add(std::move(spec));
    }
    const Node& begin = graph_[block.begin];
    const ScopeId scope = graph_.scope(begin.scope).parent;
    const SourceId source = begin.source;
    const auto insert = [&](Opcode op, std::string target, ValueList args, Kwargs kwargs, ValueType type) {
      Node node;
      node.op = op;
      node.target = std::move(target);
      node.args = std::move(args);
      node.kwargs = std::move(kwargs);
      node.type = type;
      node.scope = scope;
      node.source = source;
      return graph_.insert_before(block.end, std::move(node));
    };
    ValueList args;
    Kwargs kwargs;
    bool positional = true;
    // Up to the last that only a position can give, all are given.
    std::size_t by_position = 0;
    for (std::size_t i = 0; i < block.parameters.size(); ++i) {
      const BlockParameter& p = block.parameters[i];
      const bool is_given = p.kind == ParameterKind::var_positional
                                ? !p.value.items().empty()
                                : p.kind == ParameterKind::positional_only && !(p.fallback && p.value == *p.fallback);
      if (is_given) by_position = i + 1;
    }
    for (std::size_t i = 0; i < block.parameters.size(); ++i) {
      const BlockParameter& p = block.parameters[i];
      const Value value = without_unknown(p.value);
      if (p.kind == ParameterKind::var_positional) {
        args.insert(args.end(), value.items().begin(), value.items().end());
      } else if (p.kind == ParameterKind::var_keyword) {
        for (const auto& [key, item] : value.dict_items())
          if (key.is(ValueKind::string)) kwargs.emplace_back(key.text(), item);
      } else if (i >= by_position && p.fallback && (value == *p.fallback || p.value.is(ValueKind::ellipsis))) {
        positional = false;
      } else if (positional && p.kind != ParameterKind::keyword_only) {
        args.push_back(value);
      } else {
        kwargs.emplace_back(p.name, value);
      }
    }
    // The further parameters, by the names that they have inside.
    std::vector<std::string> names;
    const Graph& graph = *graph_.modules.find(block.path)->graph;
    for (const NodeId id : graph.order())
      if (graph[id].op == Opcode::placeholder && graph[id].args.size() == 1 &&
          graph[id].args[0].is(ValueKind::ellipsis))
        names.push_back(graph[id].target);
    for (std::size_t i = 0; i < extra.size(); ++i) kwargs.emplace_back(names[i], Value::node(extra[i]));
    NodeId carrier = kNoNode;
    if (!handed_out.empty()) {
      carrier = insert(Opcode::call_function, "builtins.dict", {}, {}, ValueType::other);
      std::string name = "taken";
      for (const BlockParameter& p : block.parameters)
        if (p.name == name) name += "_in";
      kwargs.emplace_back(name, Value::node(carrier));
    }
    const ValueType type = block.result.is_node() ? graph_[block.result.as_node()].type : ValueType::other;
    const NodeId call = insert(Opcode::call_module, block.path, std::move(args), std::move(kwargs), type);

    std::map<NodeId, NodeId> made;
    const std::set<NodeId> by_dict(handed_out.begin(), handed_out.end());
    const auto resolve = [&](auto&& self, NodeId id) -> NodeId {
      if (id >= block.inside.size() || !block.inside[id]) return id;
      if (const auto it = made.find(id); it != made.end()) return it->second;
      NodeId at = call;
      if (by_dict.contains(id)) {
        at = insert(Opcode::call_function, "operator.getitem", {Value::node(carrier), Value::string(graph_[id].name)},
                    {}, graph_[id].type);
      } else if (const auto it = results.find(id); it != results.end()) {
        for (std::size_t i = 0; i < it->second.size(); ++i) {
          const Value& step = it->second[i];
          const ValueType type = i + 1 == it->second.size() ? graph_[id].type : ValueType::other;
          if (step.is(ValueKind::name))
            at = insert(Opcode::call_function, "builtins.getattr", {Value::node(at), Value::string(step.text())}, {},
                        type);
          else
            at = insert(Opcode::call_function, "operator.getitem", {Value::node(at), step}, {}, type);
        }
      } else {
        const auto mapped = [&](const Value& value) {
          return value.map_nodes([&](NodeId in) { return Value::node(self(self, in)); });
        };
        const Node again = graph_[id];
        ValueList again_args;
        for (const Value& value : again.args) again_args.push_back(mapped(value));
        Kwargs again_kwargs;
        for (const auto& [key, value] : again.kwargs) again_kwargs.emplace_back(key, mapped(value));
        at = insert(again.op, again.target, std::move(again_args), std::move(again_kwargs), again.type);
      }
      return made[id] = at;
    };
    for (const NodeId id : outputs) resolve(resolve, id);
    if (!outputs.empty()) {
      const auto moved = [&](const Value& value) {
        return value.map_nodes([&](NodeId in) {
          const auto it = made.find(in);
          return Value::node(it == made.end() ? in : it->second);
        });
      };
      for (NodeId id = graph_[block.end].next; id != kNoNode; id = graph_[id].next) {
        bool touched = false;
        graph_[id].for_each_input([&](NodeId in) { touched = touched || made.contains(in); });
        if (!touched) continue;
        Node& node = graph_[id];
        for (Value& value : node.args) value = moved(value);
        for (auto& [key, value] : node.kwargs) value = moved(value);
        node.callee = moved(node.callee);
      }
    }
    if (context_.conversions)
      context_.conversions->push_back({.pass = "outline_blocks",
                                       .from = block.home,
                                       .to = "torch.fx.GraphModule",
                                       .path = block.path,
                                       .scope = graph_.scope(scope).path,
                                       .where = graph_.where(graph_[call])});
    for (const NodeId id : {block.end}) graph_.erase(id);
    for (auto it = block.nodes.rbegin(); it != block.nodes.rend(); ++it) graph_.erase(*it);
    for (NodeId id = graph_[block.begin].next; is_call_of(graph_[id], kBeginBlock) || is_call_of(graph_[id], kEndBlock);
         id = graph_[block.begin].next)
      graph_.erase(id);
    graph_.erase(block.begin);
  }

  Graph& graph_;
  const PassContext& context_;
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
