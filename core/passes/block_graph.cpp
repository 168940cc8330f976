#include "passes/block_graph.h"

#include <optional>
#include <set>

#include "ir/control.h"
#include "ir/namer.h"
#include "ir/printer.h"

namespace modulize {

namespace {

bool is_literal(const Value& value) {
  return value.is_none() || value.is(ValueKind::boolean) || value.is(ValueKind::integer) ||
         value.is(ValueKind::floating) || value.is(ValueKind::string);
}

class Builder {
 public:
  Builder(Graph& around, const OutlinedBlock& block, Graph& out) : around_(around), block_(block), out_(out) {}

  void run(const std::vector<NodeId>& handed_out, BlockGraph& made) {
    add_placeholders(inputs_from_around(), !handed_out.empty(), made);
    for (const NodeId id : block_.nodes) made_[id] = copy(id);
    for (const NodeId id : handed_out)
      call(std::string(kHandOut), {Value::node(taken_), Value::string(around_[id].name), Value::node(made_.at(id))},
           ValueType::other);
    Node output;
    output.op = Opcode::output;
    output.args = {mapped(block_.result)};
    out_.add(std::move(output));
    describe_tree();
  }

 private:
  // --- parameters ----------------------------------------------------------------------------------------------

  // Nodes from around that no parameter gives, and that cannot be had again of those.
  std::vector<NodeId> inputs_from_around() const {
    std::map<NodeId, ValuePath> reachable;
    for (const BlockParameter& p : block_.parameters) {
      ValuePath path;
      find_paths(p.value, path, reachable);
    }
    std::vector<NodeId> found;
    std::set<NodeId> seen;
    const auto is_given = [&](NodeId in) {
      if (reachable.contains(in)) return true;
      const Node& node = around_[in];
      return node.op == Opcode::get_attr && (node.target == block_.path || is_below(node.target, block_.path));
    };
    const auto take = [&](NodeId in) {
      if (block_.inside[in] || !seen.insert(in).second) return;
      if (!can_repeat(around_, in, is_given)) found.push_back(in);
    };
    for (const NodeId id : block_.nodes) around_[id].for_each_input(take);
    block_.result.for_each_node(take);
    return found;
  }

  NodeId placeholder(std::string name, ParameterKind kind, ValueType type, const std::optional<Value>& fallback) {
    Node node;
    node.op = Opcode::placeholder;
    node.target = std::move(name);
    node.type = type;
    if (fallback) node.args.push_back(*fallback);
    out_.parameter_kinds.push_back(kind);
    return out_.add(std::move(node));
  }

  void add_placeholders(const std::vector<NodeId>& extra, bool hands_out, BlockGraph& made) {
    std::set<std::string> names;
    for (const BlockParameter& p : block_.parameters) names.insert(p.name);
    const auto free_name = [&](std::string name) {
      while (name == "self" || !names.insert(name).second) name += "_in";
      return name;
    };
    std::vector<NodeId> keywords;  // for each of `extra`
    const auto add_extra = [&] {
      for (const NodeId in : extra) {
        made.further.emplace_back(free_name(around_[in].name), in);
        keywords.push_back(
            placeholder(made.further.back().first, ParameterKind::keyword_only, around_[in].type, Value::ellipsis()));
      }
      if (!hands_out) return;
      made.taken = free_name("taken");
      taken_ = placeholder(made.taken, ParameterKind::keyword_only, ValueType::other, Value::none());
    };
    std::vector<NodeId> added;  // for each parameter
    bool done = false;
    for (const BlockParameter& p : block_.parameters) {
      if (p.kind == ParameterKind::var_keyword) {
        add_extra();
        done = true;
      }
      const ValueType type = p.value.is_node() ? around_[p.value.as_node()].type : ValueType::unknown;
      added.push_back(placeholder(p.name, p.kind, type, p.fallback));
    }
    if (!done) add_extra();
    for (std::size_t i = 0; i < added.size(); ++i) take_parameter(block_.parameters[i], added[i]);
    for (std::size_t i = 0; i < extra.size(); ++i) require_further(extra[i], keywords[i]);
  }

  // What is in the parameter is given; a literal must be what it was.
  void take_parameter(const BlockParameter& p, NodeId id) {
    std::map<NodeId, ValuePath> found;
    ValuePath path;
    find_paths(p.value, path, found);
    for (auto& [in, where] : found) given_.emplace(in, std::pair(id, where));
    if (is_literal(p.value))
      call(std::string(kCheck),
           {Value::node(id), p.value, Value::string("argument '" + p.name + "' of " + block_.path)}, ValueType::other);
  }

  // `in`: of the graph around; `id`: the placeholder that gives it.
  void require_further(NodeId in, NodeId id) {
    const std::string where = around_.where(around_[in]);
    made_[in] = call(std::string(kRequired),
                     {Value::node(id), Value::string("the block '" + block_.path + "' needs '" + out_[id].target +
                                                     "' by keyword when it is called by itself: forward takes it from "
                                                     "around the block" +
                                                     (where.empty() ? "" : ", from " + where))},
                     around_[in].type);
  }

  // --- nodes ---------------------------------------------------------------------------------------------------

  NodeId call(std::string target, ValueList args, ValueType type) {
    Node node;
    node.op = Opcode::call_function;
    node.target = std::move(target);
    node.args = std::move(args);
    node.type = type;
    return out_.add(std::move(node));
  }

  // The node inside that stands for one of the graph around.
  NodeId resolve(NodeId id) {
    if (const auto it = made_.find(id); it != made_.end()) return it->second;
    if (const auto it = given_.find(id); it != given_.end()) {
      NodeId at = it->second.first;
      std::string key;
      for (std::size_t i = 0; i < it->second.second.size(); ++i) {
        const Value& step = it->second.second[i];
        key += '#' + print_value(around_, step);
        const auto [part, fresh] = parts_.try_emplace(std::pair(it->second.first, key), kNoNode);
        const bool is_last = i + 1 == it->second.second.size();
        if (fresh)
          part->second =
              call("operator.getitem", {Value::node(at), step}, is_last ? around_[id].type : ValueType::other);
        at = part->second;
      }
      return made_[id] = at;
    }
    return made_[id] = copy(id);
  }

  Value mapped(const Value& value) {
    return value.map_nodes([&](NodeId in) { return Value::node(resolve(in)); });
  }

  NodeId copy(NodeId id) {
    Node node = around_[id];
    node.name.clear();  // two blocks of a class read alike
    for (Value& value : node.args) value = mapped(value);
    for (auto& [key, value] : node.kwargs) value = mapped(value);
    node.callee = mapped(node.callee);
    const Source source = around_.source(node.source);
    node.source = node.source == kNoSource ? kNoSource : out_.add_source(source.file, source.line);
    node.scope = block_.inside[id] ? scope(node.scope) : kRootScope;
    if (node.op == Opcode::call_module || node.op == Opcode::get_attr)
      node.target = node.target == block_.path ? "_modulize_module" : node.target.substr(block_.path.size() + 1);
    return out_.add(std::move(node));
  }

  // Scopes of calls inside that are no blocks.
  ScopeId scope(ScopeId id) {
    if (const auto it = scopes_.find(id); it != scopes_.end()) return it->second;
    const Scope& from = around_.scope(id);
    ScopeId to = kRootScope;
    if (is_below(from.path, block_.home))
      to = out_.add_scope({from.path.substr(block_.home.size() + 1), from.call, scope(from.parent)});
    return scopes_[id] = to;
  }

  // --- the module tree -----------------------------------------------------------------------------------------

  // The part of the tree that the block's graph names.
  void describe_tree() {
    ModuleTree& tree = around_.modules;
    std::set<std::string> names, graphs;
    const auto add = [&](const std::string& name) {
      if (!names.insert(name).second) return;
      const ModuleSpec* spec = tree.find(join_path(block_.path, name));
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
      out_.modules.add(std::move(own));
    };
    for (const NodeId id : out_.order()) {
      const Node& node = out_[id];
      if (node.op == Opcode::call_module) add(node.target);
      if (node.op != Opcode::get_attr || node.target == "_modulize_module") continue;
      const TensorSpec* tensor = tree.find_tensor(join_path(block_.path, node.target));
      if (!tensor) {
        if (tree.find(join_path(block_.path, node.target))) add(node.target);
      } else if (!out_.modules.find_tensor(node.target)) {
        out_.modules.add_tensor({node.target, tensor->kind, tensor->dtype, tensor->shape});
      }
    }
    for (const std::string& name : tree.taken())
      if (is_below(name, block_.path)) out_.modules.add_taken(name.substr(block_.path.size() + 1));
    if (!graphs.empty()) tree.filter([&](const ModuleSpec& spec) { return !graphs.contains(spec.path); });
  }

  Graph& around_;
  const OutlinedBlock& block_;
  Graph& out_;
  std::map<NodeId, NodeId> made_;                         // node of the graph around -> node inside
  std::map<NodeId, std::pair<NodeId, ValuePath>> given_;  // -> placeholder and where in it
  std::map<ScopeId, ScopeId> scopes_;
  std::map<std::pair<NodeId, std::string>, NodeId> parts_;
  NodeId taken_ = kNoNode;
};

}  // namespace

BlockGraph build_block_graph(Graph& around, const OutlinedBlock& block, const std::vector<NodeId>& handed_out,
                             std::string name) {
  const auto graph = std::make_shared<Graph>();
  graph->name = std::move(name);
  BlockGraph out;
  Builder(around, block, *graph).run(handed_out, out);
  out.graph = graph;
  return out;
}

}  // namespace modulize
