#include "report/listing.h"

#include <set>

#include "ir/control.h"
#include "ir/namer.h"
#include "ir/printer.h"
#include "ops/op_match.h"
#include "ops/value_types.h"
#include "report/leftovers.h"

namespace modulize {

namespace {

class Lister {
 public:
  explicit Lister(std::vector<ListedNode>& out) : out_(out) {}

  /// `prefix` stands in front of names, `root` in front of paths, `inside` is the scope of what is in no scope.
  /// `owner`: whose modules the graph calls, for the sides of a branch the graph that it stands in.
  void list(const Graph& graph, const Graph& owner, const std::string& prefix, const std::string& root,
            const std::string& inside) {
    std::set<NodeId> leftovers;
    for (const Leftover& leftover : leftovers_of(graph))
      if ((leftover.computes || leftover.yields_tensor) && !leftover.is_kept) leftovers.insert(leftover.node);
    const std::vector<ValueType> types = value_types(graph);
    std::vector<bool> plain(graph.id_limit(), false);
    for (const NodeId id : graph.order()) {
      const Node& node = graph[id];
      plain[id] = is_plain(node, types[id], plain);
      ListedNode entry;
      entry.name = prefix + node.name;
      entry.op = node.op == Opcode::output && !prefix.empty() ? "end" : std::string(opcode_name(node.op));
      entry.what = node.target;
      entry.scope = scope_text(graph, node.scope, root, inside);
      const Source& source = graph.source(node.source);
      entry.file = source.file;
      entry.line = source.line;
      entry.text = print_node(graph, id);
      entry.is_plain = plain[id];
      entry.takes_one_value = node.args.size() == 1 && node.args[0].is_node() && node.kwargs.empty();
      node.for_each_input([&](NodeId input) { entry.inputs.push_back(prefix + graph[input].name); });
      const ModuleSpec* spec = node.op == Opcode::call_module ? find(graph, owner, node.target) : nullptr;
      if (node.op == Opcode::call_module) entry.path = join_path(root, node.target);
      if (spec) {
        entry.base = spec->base;
        entry.what = type_of(graph, owner, *spec);
      }
      if (node.callee.is(ValueKind::object)) entry.what = *node.callee.as_object().label;
      entry.kind = leftovers.count(id) > 0 ? ListedKind::leftover : kind_of(node, spec);
      if (entry.kind == ListedKind::branch) describe_decision(graph, node, entry);
      out_.push_back(entry);
      if (!spec) continue;
      if (spec->kind == ModuleKind::graph) list(*spec->graph, *spec->graph, entry.name + "/", entry.path, entry.path);
      if (spec->kind != ModuleKind::branch) continue;
      list(*spec->graph, owner, entry.name + "/true/", root, entry.path + ".if true");
      list(*spec->graph_else, owner, entry.name + "/false/", root, entry.path + ".if false");
    }
  }

 private:
  static std::string scope_text(const Graph& graph, ScopeId id, const std::string& root, const std::string& inside) {
    const Scope& scope = graph.scope(id);
    // A side of a branch shows as one scope, whatever blocks its nodes belong to.
    if (inside != root || scope.path.empty()) return inside;
    return join_path(root, scope.path) + (scope.call ? "#" + std::to_string(scope.call) : "");
  }

  static bool is_plain(const Node& node, ValueType type, const std::vector<bool>& plain) {
    if (node.op != Opcode::call_function && node.op != Opcode::call_method && node.op != Opcode::get_attr) return false;
    if (type == ValueType::number || type == ValueType::size) return true;
    if (type != ValueType::other) return false;
    // A sequence of tensors, or an object made of them, is what tensors flow through.
    bool all_plain = true;
    node.for_each_input([&](NodeId input) { all_plain = all_plain && plain[input]; });
    return all_plain || node.target == "builtins.getattr" || is_check_or_guard(node);
  }

  static ListedKind kind_of(const Node& node, const ModuleSpec* spec) {
    if (node.op == Opcode::placeholder) return ListedKind::input;
    if (node.op == Opcode::output) return ListedKind::output;
    if (node.op != Opcode::call_module) return ListedKind::other;
    if (spec && spec->kind == ModuleKind::branch) return ListedKind::branch;
    if (spec && spec->kind == ModuleKind::graph) return ListedKind::block;
    return spec && !spec->base.empty() ? ListedKind::converted : ListedKind::module;
  }

  /// The first argument of a branch decides.
  static void describe_decision(const Graph& graph, const Node& branch, ListedNode& entry) {
    if (branch.args.empty() || !branch.args[0].is_node()) return;
    NodeId decided = branch.args[0].as_node();
    entry.decided_at = graph.where(graph[decided]);
    if (is_call_of(graph[decided], kTruth) && !graph[decided].args.empty() && graph[decided].args[0].is_node())
      decided = graph[decided].args[0].as_node();
    entry.condition = describe_node(graph, decided);
  }

  static const ModuleSpec* find(const Graph& graph, const Graph& owner, const std::string& path) {
    const ModuleSpec* own = graph.modules.find(path);
    return own ? own : owner.modules.find(path);
  }

  static std::string type_of(const Graph& graph, const Graph& owner, const ModuleSpec& spec) {
    if (spec.kind == ModuleKind::branch) return "a branch";
    if (spec.kind == ModuleKind::graph) return "a block";
    const ModuleSpec* original = spec.kind == ModuleKind::copy ? find(graph, owner, spec.copy_of) : &spec;
    return original ? original->type : "";
  }

  std::vector<ListedNode>& out_;
};

}  // namespace

std::string_view listed_kind_name(ListedKind kind) {
  static constexpr std::string_view kNames[] = {"input", "output", "module",   "converted",
                                                "block", "branch", "leftover", "other"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::vector<ListedNode> list_nodes(const Graph& graph) {
  std::vector<ListedNode> out;
  Lister(out).list(graph, graph, "", "", "");
  return out;
}

namespace {

/// Adds the modules that kept code calls: no node of a graph does.
void count_inside_kept_code(const Graph& graph, const std::string& root, const std::set<std::string>& called,
                            ComputingCalls& calls) {
  for (const ModuleSpec& spec : graph.modules.modules()) {
    const std::string path = join_path(root, spec.path);
    if (spec.kind == ModuleKind::constructed && !called.contains(path)) ++calls.modules;
    if (spec.kind != ModuleKind::graph) continue;
    if (called.contains(path)) {
      count_inside_kept_code(*spec.graph, path, called, calls);
    } else {
      const ComputingCalls inside = count_computing_calls(*spec.graph);
      calls.modules += inside.modules;
      calls.others += inside.others;
    }
  }
}

}  // namespace

ComputingCalls count_computing_calls(const Graph& graph) {
  ComputingCalls calls;
  std::set<std::string> called;
  for (const ListedNode& node : list_nodes(graph)) {
    if (node.kind == ListedKind::leftover) ++calls.others;
    if (node.op != "call_module") continue;
    called.insert(node.path);
    if (node.kind == ListedKind::branch || node.kind == ListedKind::block) continue;
    const bool known = node.what.starts_with("torch.") || node.what.starts_with("modulize.") ||
                       find_op_of_module(node.what) != nullptr;
    ++(known ? calls.modules : calls.others);
  }
  count_inside_kept_code(graph, "", called, calls);
  return calls;
}

}  // namespace modulize
