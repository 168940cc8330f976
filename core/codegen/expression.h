// The Python expression of a node.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/source_names.h"
#include "codegen/variables.h"
#include "ir/graph.h"

namespace modulize {

/// How tightly an expression binds; higher binds tighter. An operand of lower precedence needs parentheses.
enum class Precedence : int {
  comparison = 1,
  bit_or,
  bit_xor,
  bit_and,
  shift,
  sum,
  product,
  unary,
  power,
  number,  // a literal: an attribute of it needs parentheses (`1 .real`)
  atom,
};

struct Expression {
  std::string text;
  Precedence precedence = Precedence::atom;
};

/// Locals that stand for a module's `_modules`, one for each prefix that is wanted more than once.
struct PrefixLocal {
  std::string name;   // "layer1_0"
  std::string value;  // `layer1["0"]._modules`
  int parent = -1;    // index of the local that `value` reads
};

class ExpressionWriter {
 public:
  ExpressionWriter(const Graph& graph, const VariablePlan& plan, SourceNames& names, const CodegenOptions& options);

  /// The statement that runs the node: `x = conv1(x)`, `x[0] = y`, `return x`. The indices of the prefix locals that it
  /// reads are appended to `prefixes`.
  std::string statement(const Node& node, NodeId id, std::vector<int>& prefixes);
  /// Is the node `x = parent["name"](x)`, a child called on `input` alone whose variable it takes over?
  bool is_chained(const Node& node, NodeId id, NodeId input) const;
  /// `x = layer1_0[name](x)`: the same with the child's name in the variable `name`.
  std::string chained_call(const Node& node, NodeId id, const std::string& name, std::vector<int>& prefixes);
  /// A value of literals, names and objects alone: the default of a parameter.
  std::string literal(const Value& value) { return this->value(value).text; }

  const std::vector<PrefixLocal>& prefix_locals() const { return prefix_locals_; }

 private:
  Expression node(const Node& node);
  Expression node_or_variable(NodeId id);
  Expression value(const Value& value);
  Expression call_function(const Node& node);
  Expression call_operator(const Node& node, std::string_view name);
  Expression call_method(const Node& node);
  std::string with_statement(const Node& enter);
  Expression call(std::string callee, const Node& node, std::size_t first_arg);
  Expression attribute(const Expression& object, std::string_view name);
  Expression subscript(const Expression& object, const Value& index);
  std::string slice_part(const Value& value);
  std::string index_item(const Value& value);

  /// The expression for a module: `layer1["0"]`, `self.layer1[0]`; `self` for the root.
  std::string module(std::string_view path);
  /// The expression for the `_modules` dict of the module at `path`.
  std::string children(std::string_view path);
  std::string module_by_attribute(std::string_view path);
  std::string tensor(std::string_view path);
  void count_prefixes();

  const Graph& graph_;
  const VariablePlan& plan_;
  SourceNames& names_;
  const CodegenOptions& options_;
  std::map<std::string, std::uint32_t, std::less<>> prefix_uses_;
  std::map<std::string, int, std::less<>> prefix_index_;
  std::vector<PrefixLocal> prefix_locals_;
  std::vector<int>* prefixes_ = nullptr;  // of the statement being written
};

}  // namespace modulize
