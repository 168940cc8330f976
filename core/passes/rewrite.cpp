#include "passes/rewrite.h"

#include <set>
#include <string_view>

#include "ir/fx_names.h"
#include "ir/namer.h"

namespace modulize {

namespace {

/// False where the gradient is known to need none of the operands' values, or only the result's.
bool backward_needs_input(const Op& op, const ValueList& args) {
  static const std::set<std::string_view> kNoInput = {"torch.add",   "torch.sub",   "torch.neg",     "torch.exp",
                                                      "torch.sqrt",  "torch.rsqrt", "torch.sigmoid", "torch.tanh",
                                                      "torch.round", "torch.floor", "torch.ceil",    "torch.trunc"};
  static const std::set<std::string_view> kByTheOther = {"torch.mul", "torch.div"};
  if (kNoInput.contains(op.row->call)) return false;
  const auto is_literal = [](const Value& value) { return !value.has_node(); };
  return !(kByTheOther.contains(op.row->call) && args.size() >= 2 && is_literal(args[1]));
}

}  // namespace

ModuleNames::ModuleNames(const Graph& graph, const Lowerings& lowerings) : rule_(lowerings.naming()) {
  if (rule_ == NamingRule::local) {
    numbers_ = call_numbers(graph, [&](const Node& node) -> std::string_view {
      const Op* op = lowerings.op_of(static_cast<NodeId>(&node - &graph[0]));
      return op ? std::string_view(op->base) : std::string_view();
    });
    return;
  }
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op != Opcode::call_module && (node.op != Opcode::get_attr || fx_candidate(node).empty())) continue;
    for (std::string_view path = split_path(node.target).first; !path.empty(); path = split_path(path).first)
      if (!inhabited_.emplace(path).second) break;
  }
}

// AIMET's rule: an operation stands in its scope, or at the root if no leaf is called and no tensor is read below the
// scope; it is called after its node.
std::string ModuleNames::operation_path(const Graph& graph, NodeId id, std::string_view base) {
  const std::string& scope = graph.scope(graph[id].scope).path;
  if (rule_ == NamingRule::local) return numbered_path(graph.modules, id, scope, base);
  const std::string_view home = inhabited_.count(scope) ? std::string_view(scope) : std::string_view();
  return free_path(graph.modules, join_path(home, "module_") + graph[id].name);
}

// AIMET's rule: beside the module, after it and the number that the node's name ends with.
std::string ModuleNames::repeat_path(const Graph& graph, NodeId id, std::string_view original, std::string_view base) {
  const auto [parent, last] = split_path(original);
  if (rule_ == NamingRule::local) return numbered_path(graph.modules, id, parent, base);
  const std::string_view number = trailing_number(graph[id].name);
  std::string path = join_path(parent, "module_") + std::string(last);
  if (!number.empty()) (path += '_') += number;
  return free_path(graph.modules, std::move(path));
}

std::string ModuleNames::numbered_path(const ModuleTree& tree, NodeId id, std::string_view parent,
                                       std::string_view base) {
  std::uint32_t from = numbers_[id];
  auto& [begin, end] = taken_[join_path(parent, base)];
  if (begin <= from && from < end) from = end;
  std::string path = new_module_path(tree, parent, base, from);
  // The number that was found in the end, from the path itself: "module_relu" is 0.
  const std::size_t stem = join_path(parent, "module_").size() + base.size();
  const std::uint32_t number = path.size() == stem ? 0 : static_cast<std::uint32_t>(std::stoul(path.substr(stem + 1)));
  if (from == end && begin < end) {
    end = number + 1;
  } else {
    begin = from;
    end = number + 1;
  }
  return path;
}

void convert_call(Graph& graph, NodeId id, Lowering lowering, bool storage_is_read, ModuleNames& names,
                  const PassContext& context, std::string_view pass) {
  const Op& op = *lowering.op;
  const std::string scope = graph.scope(graph[id].scope).path;
  const std::string path = names.operation_path(graph, id, op.base);
  if (context.conversions) {
    const Node& node = graph[id];
    context.conversions->push_back({.pass = std::string(pass),
                                    .from = (node.op == Opcode::call_method ? "torch.Tensor." : "") + node.target,
                                    .to = lowering.type,
                                    .path = path,
                                    .scope = scope,
                                    .where = graph.where(node)});
  }
  ModuleSpec spec;
  spec.path = path;
  spec.kind = ModuleKind::constructed;
  spec.type = std::move(lowering.type);
  spec.args = std::move(lowering.ctor_args);
  spec.kwargs = std::move(lowering.ctor_kwargs);
  spec.base = op.base;
  spec.adopts = std::move(lowering.adopts);
  graph.modules.add(std::move(spec));

  Node call;
  call.op = Opcode::call_module;
  call.target = path;
  if (!lowering.method.empty()) {
    Node module;
    module.op = Opcode::get_attr;
    module.target = path;
    module.type = ValueType::other;
    module.scope = graph[id].scope;
    module.source = graph[id].source;
    call.op = Opcode::call_method;
    call.target = lowering.method;
    call.args.push_back(Value::node(graph.insert_before(id, std::move(module))));
  }
  call.args.insert(call.args.end(), lowering.args.begin(), lowering.args.end());
  call.kwargs = std::move(lowering.kwargs);
  Node& node = graph[id];
  if (lowering.writes && storage_is_read) {
    // The node goes on meaning the storage; what is written there is computed just before it.
    call.type = node.type;
    call.scope = node.scope;
    call.source = node.source;
    call.name = op.base;
    if (backward_needs_input(op, lowering.args)) {
      // The write would change what autograd has saved.
      Node clone;
      clone.op = Opcode::call_method;
      clone.target = "clone";
      clone.args = {lowering.written};
      clone.type = call.type;
      clone.scope = call.scope;
      clone.source = call.source;
      clone.name = "clone";
      const Value copy = Value::node(graph.insert_before(id, std::move(clone)));
      for (Value& value : call.args)
        if (value == lowering.written) value = copy;
    }
    const NodeId result = graph.insert_before(id, std::move(call));
    Node& write = graph[id];
    write.op = Opcode::call_method;
    write.target = "copy_";
    write.args = {std::move(lowering.written), Value::node(result)};
    write.kwargs.clear();
    return;
  }
  node.op = call.op;
  node.target = std::move(call.target);
  node.args = std::move(call.args);
  node.kwargs = std::move(call.kwargs);
}

}  // namespace modulize
