// The program: a list of nodes in execution order, with the scopes and sources they refer to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ir/module_tree.h"
#include "ir/value.h"

namespace modulize {

/// The six opcodes of torch.fx, spelled as fx spells them.
enum class Opcode : std::uint8_t { placeholder, get_attr, call_function, call_method, call_module, output };

std::string_view opcode_name(Opcode op);

/// What a node yields, as far as the capture knows. `unknown` is resolved by ops/value_types.h.
enum class ValueType : std::uint8_t {
  unknown,
  tensor,
  number,  // int, float or bool of Python
  size,    // torch.Size or another sequence of numbers
  other,   // dtype, device, str, None, a sequence of tensors, any object
};

std::string_view value_type_name(ValueType type);

using ScopeId = std::uint32_t;
using SourceId = std::uint32_t;
inline constexpr ScopeId kRootScope = 0;
inline constexpr SourceId kNoSource = 0;

/// One *call* of a traced-through module: its path and the number of the call (0 for the first).
/// Printed as `in layer1.0` or `in layer1.0#1`.
struct Scope {
  std::string path;
  std::uint32_t call = 0;
  ScopeId parent = kRootScope;
};

/// A line of the user's code.
struct Source {
  std::string file;
  int line = 0;
};

using Kwargs = std::vector<std::pair<std::string, Value>>;

struct Node {
  Opcode op = Opcode::call_function;
  ValueType type = ValueType::unknown;
  bool alive = true;  // false once erased; owned by Graph
  ScopeId scope = kRootScope;
  SourceId source = kNoSource;
  NodeId prev = kNoNode, next = kNoNode;  // execution order; owned by Graph
  /// Unique in the graph, an identifier: `%conv1` in the text form.
  std::string name;
  /// placeholder: the parameter's name, with `*` or `**` in front for varargs, as torch.fx has it.
  /// get_attr: a path. call_module: a module path. call_method: the method's name.
  /// call_function: a qualified name, or empty when `callee` holds an opaque object.
  std::string target;
  /// call_function of an opaque Python object: the object. None otherwise.
  Value callee;
  /// placeholder: the default, if any, is args[0]. output: the returned value is args[0].
  ValueList args;
  Kwargs kwargs;

  const Value* find_kwarg(std::string_view key) const;
  /// Calls `fn(NodeId)` for every node used.
  template <class Fn>
  void for_each_input(Fn&& fn) const {
    callee.for_each_node(fn);
    for (const Value& v : args) v.for_each_node(fn);
    for (const auto& [key, v] : kwargs) v.for_each_node(fn);
  }
};

/// How a placeholder stands in the signature.
enum class ParameterKind : std::uint8_t {
  positional_only,
  positional_or_keyword,
  var_positional,
  keyword_only,
  var_keyword
};

std::string_view parameter_kind_name(ParameterKind kind);

/// Value semantics: a copy is an independent graph. Node ids are the same in the copy.
/// Thread: no locking; one graph belongs to one thread at a time.
class Graph {
 public:
  Graph();

  std::string name = "net";
  /// The nodes have the names that torch.fx gave them before any rewrite. Not part of the text form.
  bool named_as_torch_fx = false;
  ModuleTree modules;

  // --- nodes ---------------------------------------------------------------------------------
  /// Appends at the end of the execution order. An empty `node.name` is made from the target; a taken one counts up.
  NodeId add(Node node);
  NodeId insert_before(NodeId where, Node node);
  /// Gives nodes new names: `names[id]` where not empty. The others keep theirs, or count up where it is taken now.
  void rename(const std::vector<std::string>& names);
  /// Unlinks the node. The caller has removed every use of it (the verifier checks). Its id is not given again.
  void erase(NodeId id);
  /// Erases every node from `first` (by id) on: undoes tentative recording. Only valid while nodes were only added.
  /// Their ids are given again.
  void truncate(NodeId first);

  Node& operator[](NodeId id) { return nodes_[id]; }
  const Node& operator[](NodeId id) const { return nodes_[id]; }
  /// Number of ids ever given, dead ones included: the size of an array indexed by NodeId.
  std::size_t id_limit() const { return nodes_.size(); }
  std::size_t size() const { return size_; }
  NodeId first() const { return first_; }
  NodeId last() const { return last_; }
  /// The output node, or kNoNode.
  NodeId output() const;

  /// `for (NodeId id : graph.order())`. Nodes may be inserted while iterating, and the current one be erased, as long
  /// as the one behind it stays.
  class Order;
  Order order() const;

  /// Replaces every use of `from` by `to` in nodes after `from`, but not in `to` itself. Linear in the graph.
  void replace_uses(NodeId from, const Value& to);

  // --- scopes and sources ----------------------------------------------------------------------
  /// Scope 0 is the root: path "", call 0.
  ScopeId add_scope(Scope scope);
  const Scope& scope(ScopeId id) const { return scopes_[id]; }
  const std::vector<Scope>& scopes() const { return scopes_; }
  /// Source 0 is "unknown". Equal ones share an id.
  SourceId add_source(std::string_view file, int line);
  const Source& source(SourceId id) const { return sources_[id]; }
  const std::vector<Source>& sources() const { return sources_; }
  /// `file:line`, or an empty text where unknown.
  std::string where(const Node& node) const;

  // --- signature ---------------------------------------------------------------------------------
  /// One entry a placeholder node, in order.
  std::vector<ParameterKind> parameter_kinds;

 private:
  std::string unique_name(std::string base);
  void link_before(NodeId where, NodeId id);

  std::vector<Node> nodes_;
  std::vector<Scope> scopes_;
  std::vector<Source> sources_;
  std::unordered_map<std::string, std::uint32_t> file_line_index_;
  std::unordered_map<std::string, std::uint32_t> names_;  // name -> next counter
  NodeId first_ = kNoNode, last_ = kNoNode;
  std::size_t size_ = 0;
};

class Graph::Order {
 public:
  class Iterator {
   public:
    Iterator(const Graph* graph, NodeId id) : graph_(graph), id_(id) { remember(); }
    NodeId operator*() const { return id_; }
    Iterator& operator++() {
      // The node may have been erased meanwhile: then the successor noted before stands.
      id_ = (*graph_)[id_].alive ? (*graph_)[id_].next : next_;
      remember();
      return *this;
    }
    bool operator!=(const Iterator& other) const { return id_ != other.id_; }

   private:
    void remember() {
      if (id_ != kNoNode) next_ = (*graph_)[id_].next;
    }
    const Graph* graph_;
    NodeId id_;
    NodeId next_ = kNoNode;
  };
  explicit Order(const Graph* graph) : graph_(graph) {}
  Iterator begin() const { return Iterator(graph_, graph_->first()); }
  Iterator end() const { return Iterator(graph_, kNoNode); }

 private:
  const Graph* graph_;
};

inline Graph::Order Graph::order() const { return Order(this); }

/// Number of nodes that use each id.
std::vector<std::uint32_t> use_counts(const Graph& graph);
/// kNoNode if nothing uses the node.
NodeId first_user(const Graph& graph, NodeId node);

/// The node of that name; kNoNode if there is none. Linear in the graph.
NodeId find_node(const Graph& graph, std::string_view name);

}  // namespace modulize
