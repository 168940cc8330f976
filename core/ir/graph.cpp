#include "ir/graph.h"

#include <cctype>

namespace modulize {

namespace {

// "torch.nn.functional.relu" -> "relu", "layer1.0.conv1" -> "layer1_0_conv1", "*args" -> "args".
std::string base_name(const Node& node) {
  std::string_view target = node.target;
  switch (node.op) {
    case Opcode::call_function: {
      const std::size_t dot = target.rfind('.');
      if (dot != std::string_view::npos) target.remove_prefix(dot + 1);
      if (target.empty()) target = "call";
      break;
    }
    case Opcode::output:
      target = "output";
      break;
    default:
      while (!target.empty() && target.front() == '*') target.remove_prefix(1);
  }
  std::string out;
  out.reserve(target.size());
  for (const char c : target) out += std::isalnum(static_cast<unsigned char>(c)) || c == '_' ? c : '_';
  while (out.size() > 4 && out.starts_with("__")) out.erase(0, 2);
  while (out.size() > 2 && out.ends_with("__")) out.erase(out.size() - 2);
  if (out.empty() || std::isdigit(static_cast<unsigned char>(out[0]))) out.insert(out.begin(), '_');
  return out;
}

}  // namespace

std::string_view opcode_name(Opcode op) {
  switch (op) {
    case Opcode::placeholder:
      return "placeholder";
    case Opcode::get_attr:
      return "get_attr";
    case Opcode::call_function:
      return "call_function";
    case Opcode::call_method:
      return "call_method";
    case Opcode::call_module:
      return "call_module";
    case Opcode::output:
      return "output";
  }
  return "";
}

std::string_view value_type_name(ValueType type) {
  switch (type) {
    case ValueType::unknown:
      return "unknown";
    case ValueType::tensor:
      return "tensor";
    case ValueType::number:
      return "number";
    case ValueType::size:
      return "size";
    case ValueType::other:
      return "other";
  }
  return "";
}

std::string_view parameter_kind_name(ParameterKind kind) {
  switch (kind) {
    case ParameterKind::positional_only:
      return "positional_only";
    case ParameterKind::positional_or_keyword:
      return "positional_or_keyword";
    case ParameterKind::var_positional:
      return "var_positional";
    case ParameterKind::keyword_only:
      return "keyword_only";
    case ParameterKind::var_keyword:
      return "var_keyword";
  }
  return "";
}

const Value* Node::find_kwarg(std::string_view key) const {
  for (const auto& [name, value] : kwargs)
    if (name == key) return &value;
  return nullptr;
}

Graph::Graph() : scopes_(1), sources_(1) {}

std::string Graph::unique_name(std::string base) {
  const auto [it, fresh] = names_.emplace(base, 1);
  if (fresh) return base;
  for (;;) {
    std::string candidate = base + "_" + std::to_string(names_[base]++);
    if (names_.emplace(candidate, 1).second) return candidate;
  }
}

NodeId Graph::add(Node node) { return insert_before(kNoNode, std::move(node)); }

NodeId Graph::insert_before(NodeId where, Node node) {
  node.name = unique_name(node.name.empty() ? base_name(node) : std::move(node.name));
  const NodeId id = static_cast<NodeId>(nodes_.size());
  node.alive = true;
  nodes_.push_back(std::move(node));
  link_before(where, id);
  return id;
}

void Graph::rename(const std::vector<std::string>& names) {
  names_.clear();
  for (const NodeId id : order()) {
    if (names[id].empty()) continue;
    nodes_[id].name = names[id];
    names_.emplace(names[id], 1);
  }
  for (const NodeId id : order())
    if (names[id].empty()) nodes_[id].name = unique_name(std::move(nodes_[id].name));
}

void Graph::link_before(NodeId where, NodeId id) {
  Node& node = nodes_[id];
  node.next = where;
  node.prev = where == kNoNode ? last_ : nodes_[where].prev;
  if (node.prev == kNoNode)
    first_ = id;
  else
    nodes_[node.prev].next = id;
  if (where == kNoNode)
    last_ = id;
  else
    nodes_[where].prev = id;
  ++size_;
}

void Graph::erase(NodeId id) {
  Node& node = nodes_[id];
  if (node.prev == kNoNode)
    first_ = node.next;
  else
    nodes_[node.prev].next = node.next;
  if (node.next == kNoNode)
    last_ = node.prev;
  else
    nodes_[node.next].prev = node.prev;
  names_.erase(node.name);
  node = Node{};
  node.alive = false;
  --size_;
}

void Graph::truncate(NodeId first) {
  while (nodes_.size() > first) {
    const NodeId id = static_cast<NodeId>(nodes_.size() - 1);
    if (nodes_[id].alive) erase(id);
    nodes_.pop_back();
  }
}

NodeId Graph::output() const { return last_ != kNoNode && nodes_[last_].op == Opcode::output ? last_ : kNoNode; }

namespace {
bool uses(const Node& node, NodeId id) {
  bool found = false;
  node.for_each_input([&](NodeId in) { found |= in == id; });
  return found;
}
}  // namespace

void Graph::replace_uses(NodeId from, const Value& to) {
  const auto swap = [&](NodeId id) { return id == from ? to : Value::node(id); };
  const NodeId self = to.is_node() ? to.as_node() : kNoNode;
  for (NodeId id = nodes_[from].next; id != kNoNode; id = nodes_[id].next) {
    if (id == self) continue;
    Node& node = nodes_[id];
    if (!uses(node, from)) continue;
    node.callee = node.callee.map_nodes(swap);
    for (Value& v : node.args) v = v.map_nodes(swap);
    for (auto& [key, v] : node.kwargs) v = v.map_nodes(swap);
  }
}

NodeId first_user(const Graph& graph, NodeId node) {
  NodeId user = graph[node].next;
  while (user != kNoNode && !uses(graph[user], node)) user = graph[user].next;
  return user;
}

std::vector<std::uint32_t> use_counts(const Graph& graph) {
  std::vector<std::uint32_t> counts(graph.id_limit());
  for (const NodeId id : graph.order()) graph[id].for_each_input([&](NodeId in) { ++counts[in]; });
  return counts;
}

ScopeId Graph::add_scope(Scope scope) {
  scopes_.push_back(std::move(scope));
  return static_cast<ScopeId>(scopes_.size() - 1);
}

SourceId Graph::add_source(std::string_view file, int line) {
  if (file.empty() && line == 0) return kNoSource;
  std::string key(file);
  key += ':';
  key += std::to_string(line);
  const auto [it, fresh] = file_line_index_.emplace(std::move(key), static_cast<std::uint32_t>(sources_.size()));
  if (fresh) sources_.push_back(Source{std::string(file), line});
  return it->second;
}

std::string Graph::where(const Node& node) const {
  const Source& s = sources_[node.source];
  return s.file.empty() ? std::string() : s.file + ":" + std::to_string(s.line);
}

NodeId find_node(const Graph& graph, std::string_view name) {
  for (const NodeId id : graph.order())
    if (graph[id].name == name) return id;
  return kNoNode;
}

}  // namespace modulize
