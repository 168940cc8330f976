// The invariants. Each holds before the first and after every pass; a message starts with the number.
//
//  1. The execution order links every living node exactly once, forwards and backwards.
//  2. Placeholders stand before all other nodes.
//  3. There is exactly one output node. It is last, and has one argument and no keyword arguments.
//  4. Node names are identifiers, and no two nodes share one.
//  5. A node uses only living nodes that stand before it.
//  6. `parameter_kinds` has one entry a placeholder, agrees with the stars of its target, and the kinds come in
//  Python's
//     order: positional_only, positional_or_keyword, at most one var_positional, keyword_only, at most one var_keyword.
//  7. Parameter names are distinct and not empty. A placeholder has at most one argument, the default, which uses no
//     node; the starred have none; a positional parameter without default stands before those with one.
//  8. A call_function has either a target or a callee, and the callee is an object; no other node has a callee, and
//  every
//     other but the output has a target. A call_method has the object it is called on as its first argument.
//  9. A get_attr has no arguments. Its path names a tensor or a module of the module tree, is `_modulize_module` (the
//     root itself), or ends in `training` (the mode flag of the module before it).
// 10. A call_module names a module of the module tree.
// 11. A call or a constructor has no keyword twice.
// 12. A module has what its kind needs and nothing that belongs to another: a class (existing, constructed),
// constructor
//     arguments without nodes (constructed), `copy_of` naming another module that is not a copy itself (copy; a graph
//     may have one), a graph (graph). Every path of the tree is found under itself.
// 13. What a module adopts are tensors of the module tree, each under a name of its own.
// 14. Scope 0 is the root. The scopes of nodes, and the scopes around these, exist; a parent has a lower number than
// its
//     children; no two share path and call number. Sources exist.
// 15. The nodes of a scope, with those of the scopes inside it, are one interval of the execution order, but where
// brackets
//     of a branch stand. Placeholders and the output are in the root scope.
// 16. Values nest at most kMaxValueDepth deep and graphs kMaxGraphDepth.
// 17. A graph module obeys all of these, and a call_module of it binds to its parameters as Python would.
// 18. The brackets of branches (control.h) pair up and nest. What is made on one side is used on that side, and by its
//     end_if.
// 19. Context regions (ir/regions.h): an enter names what it enters and is used by one node, its leave; the two stand
//     in the same scope, and regions nest, with the brackets of branches too.
// 20. What begins a block (ir/blocks.h) is used by what ends it alone.
#include "ir/verifier.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>

#include "ir/blocks.h"
#include "ir/control.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/regions.h"
#include "support/error.h"
#include "support/python_repr.h"
#include "support/text.h"

namespace modulize {

namespace {

std::string repr(std::string_view text) { return python_repr(text); }

class Verifier {
 public:
  /// `tree`: the modules and tensors that paths name.
  Verifier(const Graph& graph, const ModuleTree& tree, std::string prefix, int depth)
      : graph_(graph), tree_(tree), prefix_(std::move(prefix)), depth_(depth) {}

  void run() {
    if (depth_ > kMaxGraphDepth)
      fail(16, "graph " + repr(graph_.name) + " nests more than " + std::to_string(kMaxGraphDepth) + " deep");
    check_order();
    for (const NodeId id : graph_.order()) has_branches_ |= is_bracket(graph_[id]);
    check_modules();
    check_scopes();
    check_regions();
    std::size_t placeholders = 0;
    bool past_placeholders = false;
    std::vector<bool> defined(graph_.id_limit());
    std::unordered_set<std::string_view> names;
    for (const NodeId id : graph_.order()) {
      const Node& node = graph_[id];
      if (node.op == Opcode::placeholder) {
        if (past_placeholders) fail(2, at(id) + " stands after a node that is none");
        ++placeholders;
      } else {
        past_placeholders = true;
      }
      check_name(id, names);
      check_inputs(id, defined);
      check_bracket(id, defined);
      check_form(id);
      check_keywords(node.kwargs, [&] { return at(id); });
      check_place(id);
      defined[id] = true;
    }
    if (graph_.output() == kNoNode) fail(3, "graph " + repr(graph_.name) + " does not end in an output node");
    if (!open_.empty()) fail(18, "a branch is not closed: " + at(open_.back().bracket));
    check_parameters(placeholders);
  }

 private:
  [[noreturn]] void fail(int invariant, const std::string& what) const {
    throw Error(ErrorCode::VerifierError, "invariant " + std::to_string(invariant) + ": " + prefix_ + what);
  }

  // "%relu = call_function torch.relu(%x) at "net.py":12", cut where very long.
  std::string at(NodeId id) const {
    std::string text = print_node(graph_, id);
    if (text.size() > 300) text = text.substr(0, 300) + "...";
    return "`" + text + "`";
  }

  void check_order() const {
    std::size_t count = 0;
    NodeId before = kNoNode;
    for (NodeId id = graph_.first(); id != kNoNode; id = graph_[id].next) {
      if (id >= graph_.id_limit()) fail(1, "node " + std::to_string(id) + " is linked and does not exist");
      if (!graph_[id].alive) fail(1, "node " + std::to_string(id) + " is linked and erased");
      if (graph_[id].prev != before)
        fail(1, "node " + std::to_string(id) + " is not linked back to the node before it");
      if (++count > graph_.size()) fail(1, "the execution order has more nodes than the graph, or runs in a circle");
      before = id;
    }
    if (count != graph_.size() || before != graph_.last())
      fail(1, "the execution order links " + std::to_string(count) + " of " + std::to_string(graph_.size()) + " nodes");
  }

  void check_name(NodeId id, std::unordered_set<std::string_view>& names) const {
    const std::string& name = graph_[id].name;
    if (!is_identifier(name)) fail(4, "the name " + repr(name) + " is not an identifier: " + at(id));
    if (!names.insert(name).second) fail(4, "a second node is called " + repr(name) + ": " + at(id));
  }

  void check_inputs(NodeId id, const std::vector<bool>& defined) const {
    const Node& node = graph_[id];
    check_depth(node.callee, [&] { return at(id); });
    for (const Value& v : node.args) check_depth(v, [&] { return at(id); });
    for (const auto& [key, v] : node.kwargs) check_depth(v, [&] { return at(id); });
    node.for_each_input([&](NodeId used) {
      if (used >= graph_.id_limit() || !graph_[used].alive) fail(5, at(id) + " uses an erased node");
      if (defined[used]) return;
      // end_if reads what either side made.
      if (is_call_of(node, kEndIf) && !open_.empty() &&
          std::find(open_.back().first_side.begin(), open_.back().first_side.end(), used) !=
              open_.back().first_side.end())
        return;
      fail(5, at(id) + " uses %" + graph_[used].name + ", which does not stand before it");
    });
  }

  template <class Where>
  void check_depth(const Value& value, Where&& where) const {
    if (nests_deeper(value, kMaxValueDepth))
      fail(16, "a value nests more than " + std::to_string(kMaxValueDepth) + " deep in " + where());
  }

  static bool nests_deeper(const Value& value, int depth) {
    if (depth < 0) return true;
    switch (value.kind()) {
      case ValueKind::tuple:
      case ValueKind::list:
      case ValueKind::slice:
        for (const Value& item : value.items())
          if (nests_deeper(item, depth - 1)) return true;
        return false;
      case ValueKind::dict:
        for (const auto& [key, item] : value.dict_items())
          if (nests_deeper(key, depth - 1) || nests_deeper(item, depth - 1)) return true;
        return false;
      default:
        return false;
    }
  }

  void check_form(NodeId id) const {
    const Node& node = graph_[id];
    if (node.op != Opcode::call_function && !node.callee.is_none()) fail(8, "only functions have a callee: " + at(id));
    if (node.op != Opcode::call_function && node.op != Opcode::output && node.target.empty())
      fail(8, "the target is empty: " + at(id));
    switch (node.op) {
      case Opcode::placeholder:
        break;  // check_parameters
      case Opcode::output:
        if (id != graph_.last()) fail(3, "nodes stand after the output node " + at(id));
        if (node.args.size() != 1 || !node.kwargs.empty())
          fail(3, "the output has not exactly one argument: " + at(id));
        break;
      case Opcode::call_function:
        if (node.callee.is_none() == node.target.empty())
          fail(8, "a function needs either a target or a callee: " + at(id));
        if (!node.callee.is_none() && !node.callee.is(ValueKind::object)) fail(8, "the callee is no object: " + at(id));
        break;
      case Opcode::call_method:
        if (node.args.empty()) fail(8, "a method needs the object it is called on: " + at(id));
        break;
      case Opcode::get_attr:
        if (!node.args.empty() || !node.kwargs.empty()) fail(9, "a get_attr takes no arguments: " + at(id));
        if (!tree_.find_tensor(node.target) && node.target != "training" && !node.target.ends_with(".training") &&
            node.target != "_modulize_module" && !tree_.find(node.target))
          fail(9, "the module tree has no tensor " + repr(node.target) + ": " + at(id));
        break;
      case Opcode::call_module: {
        const ModuleSpec* spec = tree_.find(node.target);
        if (!spec) fail(10, "the module tree has no module " + repr(node.target) + ": " + at(id));
        if (spec->kind == ModuleKind::graph) check_binding(id, *spec->graph);
        break;
      }
    }
  }

  template <class Where>
  void check_keywords(const Kwargs& kwargs, Where&& where) const {
    if (kwargs.size() < 2) return;
    std::unordered_set<std::string_view> keys;
    for (const auto& [key, value] : kwargs)
      if (!keys.insert(key).second) fail(11, "the keyword " + repr(key) + " is given twice: " + where());
  }

  // A call of the graph module `callee` binds as Python would bind it.
  void check_binding(NodeId id, const Graph& callee) const {
    const Node& node = graph_[id];
    std::set<std::string_view> given;
    for (const auto& [key, value] : node.kwargs) given.insert(key);
    std::size_t next = 0, number = 0, keywords = 0;
    bool takes_rest = false, takes_keywords = false;
    for (const NodeId parameter_id : callee.order()) {
      const Node& parameter = callee[parameter_id];
      if (parameter.op != Opcode::placeholder) break;
      const ParameterKind kind = callee.parameter_kinds[number++];
      if (kind == ParameterKind::var_positional) {
        takes_rest = true;
        continue;
      }
      if (kind == ParameterKind::var_keyword) {
        takes_keywords = true;
        continue;
      }
      bool bound = false;
      if (kind != ParameterKind::keyword_only && next < node.args.size()) {
        ++next;
        bound = true;
      }
      if (kind != ParameterKind::positional_only && given.contains(parameter.target)) {
        if (bound) fail(17, "the parameter " + repr(parameter.target) + " is given twice: " + at(id));
        ++keywords;
        bound = true;
      }
      if (!bound && parameter.args.empty())
        fail(17, "the parameter " + repr(parameter.target) + " of the graph module is not given: " + at(id));
    }
    if (next < node.args.size() && !takes_rest)
      fail(17, "the graph module takes " + std::to_string(next) + " positional arguments: " + at(id));
    if (keywords < given.size() && !takes_keywords)
      fail(17, "the graph module has no parameter for every keyword: " + at(id));
  }

  void check_parameters(std::size_t placeholders) const {
    const std::vector<ParameterKind>& kinds = graph_.parameter_kinds;
    if (kinds.size() != placeholders)
      fail(6, "graph " + repr(graph_.name) + " has " + std::to_string(placeholders) + " placeholders and " +
                  std::to_string(kinds.size()) + " parameter kinds");
    std::unordered_set<std::string_view> names;
    bool default_seen = false;
    NodeId id = graph_.first();
    for (std::size_t i = 0; i < placeholders; ++i, id = graph_[id].next) {
      const Node& node = graph_[id];
      const ParameterKind kind = kinds[i];
      const bool is_starred = kind == ParameterKind::var_positional || kind == ParameterKind::var_keyword;
      std::string_view name = node.target;
      const std::string_view stars = kind == ParameterKind::var_positional ? "*"
                                     : kind == ParameterKind::var_keyword  ? "**"
                                                                           : "";
      if (!name.starts_with(stars) || name.substr(stars.size()).starts_with('*'))
        fail(6, std::string(parameter_kind_name(kind)) + " does not agree with the stars of " + at(id));
      if (i > 0 && (kind < kinds[i - 1] || (is_starred && kind == kinds[i - 1])))
        fail(6, std::string(parameter_kind_name(kind)) + " stands after " +
                    std::string(parameter_kind_name(kinds[i - 1])) + ": " + at(id));
      name.remove_prefix(stars.size());
      if (name.empty()) fail(7, "a parameter has no name: " + at(id));
      if (!names.insert(name).second) fail(7, "a second parameter is called " + repr(name) + ": " + at(id));
      if (node.args.size() > 1 || !node.kwargs.empty()) fail(7, "a placeholder has only a default: " + at(id));
      if (!node.args.empty() && node.args[0].has_node()) fail(7, "a default uses a node: " + at(id));
      if (!node.args.empty() && is_starred) fail(7, "a starred parameter has no default: " + at(id));
      if (kind > ParameterKind::positional_or_keyword) continue;
      if (default_seen && node.args.empty()) fail(7, "a parameter without default follows one with: " + at(id));
      default_seen |= !node.args.empty();
    }
  }

  void check_modules() const {
    const ModuleTree& tree = graph_.modules;
    for (const ModuleSpec& spec : tree.modules()) {
      const auto where = [&] { return "module " + repr(spec.path); };
      if (tree.find(spec.path) != &spec) fail(12, where() + " is not found under its path");
      const bool has_type = spec.kind == ModuleKind::existing || spec.kind == ModuleKind::constructed;
      if (has_type == spec.type.empty()) fail(12, where() + (has_type ? " has no class" : " has a class"));
      if (spec.kind != ModuleKind::constructed && (!spec.args.empty() || !spec.kwargs.empty()))
        fail(12, where() + " has constructor arguments and is not constructed");
      for (const Value& v : spec.args) check_constant(v, where);
      for (const auto& [key, v] : spec.kwargs) check_constant(v, where);
      check_keywords(spec.kwargs, where);
      const bool has_graph = spec.kind == ModuleKind::graph || spec.kind == ModuleKind::branch;
      if (has_graph != (spec.graph != nullptr))
        fail(12, where() + (spec.graph ? " has a graph and is none" : " has no graph"));
      if (spec.kind == ModuleKind::copy) {
        const ModuleSpec* of = tree.find(spec.copy_of);
        if (!of) fail(12, where() + " is a copy of " + repr(spec.copy_of) + ", which is no module of the tree");
        if (of->kind == ModuleKind::copy) fail(12, where() + " is a copy of the copy " + repr(spec.copy_of));
      } else if (!spec.copy_of.empty() && spec.kind != ModuleKind::graph) {
        fail(12, where() + " names a module to copy and is no copy");
      } else if (spec.untied && spec.copy_of.empty()) {
        fail(12, where() + " is untied and is no copy");
      }
      std::set<std::string_view> adopted;
      for (const auto& [name, path] : spec.adopts) {
        if (!tree.find_tensor(path)) fail(13, where() + " adopts " + repr(path) + ", which is no tensor of the tree");
        if (name.empty() || !adopted.insert(name).second) fail(13, where() + " adopts " + repr(name) + " twice");
      }
      if ((spec.kind == ModuleKind::branch) != (spec.graph_else != nullptr))
        fail(12, where() + (spec.graph_else ? " has a second graph and is no branch" : " has no second graph"));
      for (const Graph* inner : {spec.graph.get(), spec.graph_else.get()})
        if (inner)
          Verifier(*inner, spec.graph_else ? tree : inner->modules,
                   prefix_ + "in graph module " + repr(spec.path) + ": ", depth_ + 1)
              .run();
    }
    for (const TensorSpec& spec : tree.tensors())
      if (tree.find_tensor(spec.path) != &spec) fail(12, "tensor " + repr(spec.path) + " is not found under its path");
  }

  template <class Where>
  void check_constant(const Value& value, Where&& where) const {
    check_depth(value, where);
    if (value.has_node()) fail(12, "a constructor argument of " + where() + " uses a node");
  }

  // The scopes in use, and the intervals that they make.
  void check_scopes() const {
    const std::vector<Scope>& scopes = graph_.scopes();
    if (scopes.empty() || !scopes[0].path.empty() || scopes[0].call != 0 || scopes[0].parent != kRootScope)
      fail(14, "scope 0 is not the root");
    std::vector<char> state(scopes.size(), kUnseen);
    state[kRootScope] = kOpen;
    std::set<std::pair<std::string_view, std::uint32_t>> calls{{std::string_view(), 0}};
    ScopeId current = kRootScope;
    std::vector<ScopeId> entered;
    for (const NodeId id : graph_.order()) {
      const ScopeId scope = graph_[id].scope;
      if (scope == current) continue;
      if (scope >= scopes.size()) fail(14, "scope " + std::to_string(scope) + " does not exist: " + at(id));
      entered.clear();
      for (ScopeId s = scope; state[s] != kOpen; s = scopes[s].parent) {
        if (scopes[s].parent >= s) fail(14, "the scope " + name_of(s) + " is not numbered after its parent");
        // The sides of a branch may each hold a part of one module call.
        if (state[s] == kClosed && !has_branches_) fail(15, "the scope " + name_of(s) + " was left before: " + at(id));
        entered.push_back(s);
      }
      // What is open below the innermost scope that holds both is left.
      const ScopeId around = entered.empty() ? scope : scopes[entered.back()].parent;
      for (; current != around; current = scopes[current].parent) state[current] = kClosed;
      for (const ScopeId s : entered) {
        const bool again = state[s] == kClosed;
        state[s] = kOpen;
        if (!again && !calls.insert({scopes[s].path, scopes[s].call}).second)
          fail(14, "there are two scopes " + name_of(s));
      }
      current = scope;
    }
  }

  void check_regions() const {
    std::vector<NodeId> open;
    std::vector<std::size_t> branches;  // the number of open regions at each begin_if
    for (const NodeId id : graph_.order()) {
      const Node& node = graph_[id];
      if (is_call_of(node, kBeginIf)) {
        branches.push_back(open.size());
      } else if (is_bracket(node) && !branches.empty()) {
        if (open.size() != branches.back()) fail(19, at(id) + " stands in another region than the begin of its branch");
        if (is_call_of(node, kEndIf)) branches.pop_back();
      }
      if (is_leave(node)) {
        const NodeId entered = region_of_leave(node);
        if (open.empty() || entered != open.back())
          fail(19, at(id) + " does not leave the region that was entered last" +
                       (open.empty() ? std::string() : ", " + at(open.back())));
        if (graph_[entered].scope != node.scope) fail(19, at(id) + " stands in another scope than " + at(entered));
        open.pop_back();
        continue;
      }
      node.for_each_input([&](NodeId used) {
        if (used >= graph_.id_limit()) return;
        if (is_enter(graph_[used])) fail(19, at(id) + " uses a region and is not its leave");
        if (is_call_of(graph_[used], kBeginBlock) && !is_call_of(node, kEndBlock))
          fail(20, at(id) + " uses the begin of a block and is not its end");
      });
      if (!is_enter(node)) continue;
      if (node.args.empty() || !node.args[0].is(ValueKind::string)) fail(19, at(id) + " does not name what it enters");
      open.push_back(id);
    }
    if (!open.empty()) fail(19, at(open.back()) + " is never left");
  }

  std::string name_of(ScopeId id) const {
    const Scope& scope = graph_.scope(id);
    return repr(scope.path) + (scope.call ? "#" + std::to_string(scope.call) : std::string());
  }

  void check_place(NodeId id) const {
    const Node& node = graph_[id];
    if (node.source >= graph_.sources().size())
      fail(14, "source " + std::to_string(node.source) + " does not exist: " + at(id));
    if (node.scope != kRootScope && (node.op == Opcode::placeholder || node.op == Opcode::output))
      fail(15, "placeholders and the output are in the root scope: " + at(id));
  }

  static constexpr char kUnseen = 0, kOpen = 1, kClosed = 2;

  void check_bracket(NodeId id, std::vector<bool>& defined) {
    const Node& node = graph_[id];
    if (!is_bracket(node)) {
      if (!open_.empty()) open_.back().inside.push_back(id);
      return;
    }
    const auto follows = [&](std::string_view target) {
      return !node.args.empty() && node.args[0].is_node() && !open_.empty() &&
             node.args[0].as_node() == open_.back().bracket && is_call_of(graph_[open_.back().bracket], target);
    };
    const auto hide = [&] {
      for (const NodeId inside : open_.back().inside) defined[inside] = false;
    };
    if (node.target == kBeginIf) {
      if (node.args.size() != 1 || !node.args[0].is_node()) fail(18, "a branch has one condition: " + at(id));
      open_.push_back({id, {}, {}});
      return;
    }
    if (node.target == kBeginElse) {
      if (node.args.size() != 1 || !follows(kBeginIf)) fail(18, "this does not follow its begin_if: " + at(id));
      hide();
      open_.back().first_side = std::move(open_.back().inside);
      open_.back().inside.clear();
      open_.back().bracket = id;
      return;
    }
    if (node.target != kEndIf || node.args.size() != 3 || !follows(kBeginElse) || !node.args[1].is(ValueKind::tuple) ||
        !node.args[2].is(ValueKind::tuple) || node.args[1].items().size() != node.args[2].items().size())
      fail(18, "this does not close a branch with as many results of either side: " + at(id));
    hide();
    open_.pop_back();
    if (!open_.empty()) open_.back().inside.push_back(id);
  }

  const Graph& graph_;
  const ModuleTree& tree_;
  bool has_branches_ = false;
  struct Open {
    NodeId bracket;
    std::vector<NodeId> inside, first_side;
  };
  std::vector<Open> open_;
  const std::string prefix_;
  const int depth_;
};

}  // namespace

void verify(const Graph& graph) { Verifier(graph, graph.modules, "", 0).run(); }

}  // namespace modulize
