#include "codegen/expression.h"

#include <algorithm>
#include <cmath>

#include "ir/namer.h"
#include "ir/regions.h"
#include "support/error.h"
#include "support/identifier.h"
#include "support/python_repr.h"

namespace modulize {

namespace {

struct Operator {
  std::string_view name, sign;
  Precedence precedence;
};

// Binary operators of the `operator` module, by name. All but `**` group to the left.
constexpr Operator kBinary[] = {
    {"add", " + ", Precedence::sum},
    {"sub", " - ", Precedence::sum},
    {"mul", " * ", Precedence::product},
    {"truediv", " / ", Precedence::product},
    {"floordiv", " // ", Precedence::product},
    {"mod", " % ", Precedence::product},
    {"matmul", " @ ", Precedence::product},
    {"pow", " ** ", Precedence::power},
    {"lshift", " << ", Precedence::shift},
    {"rshift", " >> ", Precedence::shift},
    {"and_", " & ", Precedence::bit_and},
    {"xor", " ^ ", Precedence::bit_xor},
    {"or_", " | ", Precedence::bit_or},
    {"eq", " == ", Precedence::comparison},
    {"ne", " != ", Precedence::comparison},
    {"lt", " < ", Precedence::comparison},
    {"le", " <= ", Precedence::comparison},
    {"gt", " > ", Precedence::comparison},
    {"ge", " >= ", Precedence::comparison},
    {"is_", " is ", Precedence::comparison},
    {"is_not", " is not ", Precedence::comparison},
};
constexpr Operator kUnary[] = {
    {"neg", "-", Precedence::unary}, {"pos", "+", Precedence::unary}, {"invert", "~", Precedence::unary}};
// `1 - x` reaches us as Tensor.__rsub__(x, 1).
constexpr Operator kReflected[] = {
    {"__radd__", " + ", Precedence::sum},         {"__rsub__", " - ", Precedence::sum},
    {"__rmul__", " * ", Precedence::product},     {"__rdiv__", " / ", Precedence::product},
    {"__rtruediv__", " / ", Precedence::product}, {"__rfloordiv__", " // ", Precedence::product},
    {"__rmod__", " % ", Precedence::product},     {"__rpow__", " ** ", Precedence::power},
};
constexpr Operator kInPlace[] = {
    {"iadd", " += ", {}},       {"isub", " -= ", {}}, {"imul", " *= ", {}},  {"itruediv", " /= ", {}},
    {"ifloordiv", " //= ", {}}, {"imod", " %= ", {}}, {"ipow", " **= ", {}}, {"imatmul", " @= ", {}},
    {"iand", " &= ", {}},       {"ior", " |= ", {}},  {"ixor", " ^= ", {}},
};

template <std::size_t N>
const Operator* find(const Operator (&table)[N], std::string_view name) {
  const auto it = std::find_if(std::begin(table), std::end(table), [&](const Operator& o) { return o.name == name; });
  return it == std::end(table) ? nullptr : &*it;
}

// "operator.add" -> "add"; nothing for any other function.
std::string_view operator_name(std::string_view target) {
  for (const std::string_view prefix : {std::string_view("operator."), std::string_view("_operator.")})
    if (target.starts_with(prefix)) return target.substr(prefix.size());
  return {};
}

std::string operand(const Expression& expression, Precedence at_least) {
  if (expression.precedence >= at_least) return expression.text;
  return "(" + expression.text + ")";
}

Expression binary(const Expression& left, const Operator& op, const Expression& right) {
  const auto tighter = static_cast<Precedence>(static_cast<int>(op.precedence) + 1);
  // `a ** b` groups to the right and binds a unary on its right side; a comparison chains, so neither side may be one.
  const bool power = op.precedence == Precedence::power;
  const Precedence left_least = power || op.precedence == Precedence::comparison ? tighter : op.precedence;
  const Precedence right_least = power ? Precedence::unary : tighter;
  return {operand(left, left_least) + std::string(op.sign) + operand(right, right_least), op.precedence};
}

// Attributes of GraphModule that hide a child, a parameter or an attribute of the same name on the root.
bool is_hidden_on_root(std::string_view name) {
  return name == "graph" || name == "code" || name == "_graph" || name == "_code";
}

}  // namespace

ExpressionWriter::ExpressionWriter(const Graph& graph, const VariablePlan& plan, SourceNames& names,
                                   const CodegenOptions& options)
    : graph_(graph), plan_(plan), names_(names), options_(options) {
  if (options_.access == ModuleAccess::lookup) count_prefixes();
}

// --- modules and tensors -----------------------------------------------------------------------------

// A prefix is used by every call of a child and by every local of a longer prefix.
void ExpressionWriter::count_prefixes() {
  const auto count = [&](std::string_view prefix) {
    for (;;) {
      const auto it = prefix_uses_.find(prefix);
      if (it != prefix_uses_.end()) {
        ++it->second;
        return;
      }
      prefix_uses_.emplace(prefix, 1);
      if (prefix.empty()) return;
      prefix = split_path(prefix).first;
    }
  };
  for (const NodeId id : graph_.order()) {
    const Node& node = graph_[id];
    if (node.op == Opcode::call_module) {
      count(split_path(node.target).first);
    } else if (node.op == Opcode::get_attr) {
      const std::string_view owner = split_path(node.target).first;
      if (!owner.empty()) count(split_path(owner).first);
    }
  }
}

std::string ExpressionWriter::children(std::string_view path) {
  const auto known = prefix_index_.find(path);
  if (known != prefix_index_.end()) {
    prefixes_->push_back(known->second);
    return prefix_locals_[known->second].name;
  }
  const auto uses = prefix_uses_.find(path);
  if (uses == prefix_uses_.end() || uses->second < 2) return module(path) + "._modules";
  // Locals are declared once a piece, where first read: the value must not count among this statement's own prefixes.
  std::vector<int> above;
  std::vector<int>* const statement = prefixes_;
  prefixes_ = &above;
  std::string value = module(path) + "._modules";
  prefixes_ = statement;
  PrefixLocal local;
  local.value = std::move(value);
  local.parent = above.empty() ? -1 : above.front();
  local.name = names_.unique(path.empty() ? std::string("modules") : std::string(path));
  const int index = static_cast<int>(prefix_locals_.size());
  prefix_locals_.push_back(std::move(local));
  prefix_index_.emplace(path, index);
  prefixes_->push_back(index);
  return prefix_locals_[index].name;
}

std::string ExpressionWriter::module(std::string_view path) {
  if (path.empty()) return "self";
  if (options_.access == ModuleAccess::attribute) return module_by_attribute(path);
  const auto [parent, name] = split_path(path);
  // A step through something that is no registered module: a plain attribute that has tensors of its own.
  if (options_.tree.is_module && !options_.tree.is_module(path)) return attribute({module(parent)}, name).text;
  return children(parent) + "[" + quoted(name) + "]";
}

std::string ExpressionWriter::module_by_attribute(std::string_view path) {
  const TreeQueries& tree = options_.tree;
  const auto [parent, name] = split_path(path);
  const std::string owner = parent.empty() ? "self" : module_by_attribute(parent);
  if (tree.is_index && tree.is_index(path)) return owner + "[" + std::string(name) + "]";
  const bool hidden = parent.empty() && is_hidden_on_root(name);
  const bool registered = !tree.is_module || tree.is_module(path);
  if (registered && (hidden || (tree.is_attribute && !tree.is_attribute(path))))
    return owner + "._modules[" + quoted(name) + "]";
  return attribute({owner}, name).text;
}

std::string ExpressionWriter::tensor(std::string_view path) {
  const auto [owner, name] = split_path(path);
  if (owner.empty() && is_hidden_on_root(name))
    return names_.qualified(kRootAttribute) + "(self, " + quoted(name) + ")";
  return attribute({module(owner)}, name).text;
}

// --- values --------------------------------------------------------------------------------------------

Expression ExpressionWriter::node_or_variable(NodeId id) {
  if (plan_.inlined[id]) return node(graph_[id]);
  return {plan_.variable[id]};
}

Expression ExpressionWriter::value(const Value& v) {
  const auto list = [&](const ValueList& items) {
    std::string text;
    for (const Value& item : items) {
      if (!text.empty()) text += ", ";
      text += value(item).text;
    }
    return text;
  };
  switch (v.kind()) {
    case ValueKind::none:
      return {"None"};
    case ValueKind::boolean:
      return {v.as_boolean() ? "True" : "False"};
    case ValueKind::integer:
      return {python_repr(v.as_integer()), v.as_integer() < 0 ? Precedence::unary : Precedence::number};
    case ValueKind::floating: {
      const double number = v.as_floating();
      if (!std::isfinite(number)) {
        const std::string text = std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
        return {names_.builtin("float") + "(\"" + text + "\")"};
      }
      return {python_repr(number), std::signbit(number) ? Precedence::unary : Precedence::number};
    }
    case ValueKind::ellipsis:
      return {"..."};
    case ValueKind::node:
      return node_or_variable(v.as_node());
    case ValueKind::object:
      return {names_.object(v.as_object().id)};
    case ValueKind::string:
      return {python_repr(v.text())};
    case ValueKind::name:
      return {names_.qualified(v.text())};
    case ValueKind::tuple:
      return {"(" + list(v.items()) + (v.items().size() == 1 ? ",)" : ")")};
    case ValueKind::list:
      return {"[" + list(v.items()) + "]"};
    case ValueKind::slice:
      return {names_.builtin("slice") + "(" + list(v.items()) + ")"};
    case ValueKind::dict: {
      std::string text;
      for (const auto& [key, item] : v.dict_items()) {
        if (!text.empty()) text += ", ";
        text += value(key).text;
        text += ": ";
        text += value(item).text;
      }
      return {"{" + text + "}"};
    }
  }
  return {};
}

std::string ExpressionWriter::slice_part(const Value& v) { return v.is_none() ? std::string() : value(v).text; }

std::string ExpressionWriter::index_item(const Value& v) {
  if (!v.is(ValueKind::slice)) return value(v).text;
  const ValueList& parts = v.items();
  std::string text = slice_part(parts[0]) + ":" + slice_part(parts[1]);
  if (!parts[2].is_none()) text += ":" + slice_part(parts[2]);
  return text;
}

Expression ExpressionWriter::subscript(const Expression& object, const Value& index) {
  std::string text;
  if (index.is(ValueKind::tuple) && !index.items().empty()) {
    for (const Value& item : index.items()) {
      if (!text.empty()) text += ", ";
      text += index_item(item);
    }
    if (index.items().size() == 1) text += ",";
  } else {
    text = index_item(index);
  }
  return {operand(object, Precedence::atom) + "[" + text + "]"};
}

Expression ExpressionWriter::attribute(const Expression& object, std::string_view name) {
  if (!is_plain_identifier(name))
    return {names_.builtin("getattr") + "(" + object.text + ", " + python_repr(name) + ")"};
  return {operand(object, Precedence::atom) + "." + std::string(name)};
}

// --- calls ---------------------------------------------------------------------------------------------

Expression ExpressionWriter::call(std::string callee, const Node& node, std::size_t first_arg) {
  std::string text = std::move(callee);
  text += '(';
  const char* separator = "";
  for (std::size_t i = first_arg; i < node.args.size(); ++i) {
    text += separator;
    const Source& place = graph_.source(node.source);
    if (i == 3 && options_.shown_file && !place.file.empty() && is_check(node))
      text += python_repr(std::string_view(options_.shown_file(place.file) + ":" + std::to_string(place.line)));
    else
      text += value(node.args[i]).text;
    separator = ", ";
  }
  std::string others;  // names that cannot stand before `=`
  for (const auto& [key, item] : node.kwargs) {
    if (is_plain_identifier(key)) {
      text += separator;
      text += key;
      text += '=';
      text += value(item).text;
      separator = ", ";
    } else {
      others += others.empty() ? "" : ", ";
      others += python_repr(std::string_view(key)) + ": " + value(item).text;
    }
  }
  if (!others.empty()) text += std::string(separator) + "**{" + others + "}";
  text += ')';
  return {std::move(text)};
}

// Empty text where the operator is not called as one.
Expression ExpressionWriter::call_operator(const Node& node, std::string_view name) {
  if (!node.kwargs.empty()) return {};
  if (node.args.size() == 1) {
    if (const Operator* op = find(kUnary, name)) {
      const Expression x = value(node.args[0]);
      // `--1` is legal, but `-(-1)` is what a person writes.
      return {std::string(op->sign) + operand(x, x.text.starts_with('-') ? Precedence::power : Precedence::unary),
              Precedence::unary};
    }
  }
  if (node.args.size() == 2) {
    if (name == "getitem") return subscript(value(node.args[0]), node.args[1]);
    if (const Operator* op = find(kBinary, name)) {
      Expression left = value(node.args[0]);
      return binary(left, *op, value(node.args[1]));
    }
  }
  return {};
}

Expression ExpressionWriter::call_function(const Node& node) {
  if (node.target.empty()) {
    Expression callee = value(node.callee);
    return call(operand(callee, Precedence::atom), node, 0);
  }
  if (const std::string_view name = operator_name(node.target); !name.empty()) {
    Expression expression = call_operator(node, name);
    if (!expression.text.empty()) return expression;
  }
  if (node.target == "builtins.getattr" && node.args.size() == 2 && node.kwargs.empty() &&
      node.args[1].is(ValueKind::string)) {
    return attribute(value(node.args[0]), node.args[1].text());
  }
  return call(names_.qualified(node.target), node, 0);
}

Expression ExpressionWriter::call_method(const Node& node) {
  if (node.args.empty())
    throw Error(ErrorCode::ModulizeError, "the method call %" + node.name + " has no object to call " +
                                              python_repr(std::string_view(node.target)) + " on");
  if (node.args.size() == 2 && node.kwargs.empty()) {
    const Value& other = node.args[1];
    const bool number = other.is(ValueKind::integer) || other.is(ValueKind::floating);
    if (const Operator* op = find(kReflected, node.target); op && number)
      return binary(value(other), *op, value(node.args[0]));
  }
  return call(attribute(value(node.args[0]), node.target).text, node, 1);
}

Expression ExpressionWriter::node(const Node& node) {
  switch (node.op) {
    case Opcode::get_attr:
      return {tensor(node.target)};
    case Opcode::call_module:
      return call(module(node.target), node, 0);
    case Opcode::call_function:
      return call_function(node);
    case Opcode::call_method:
      return call_method(node);
    case Opcode::placeholder:
    case Opcode::output:
      break;
  }
  throw Error(ErrorCode::ModulizeError, "%" + node.name + " is no expression");
}

std::string ExpressionWriter::with_statement(const Node& enter) {
  if (enter.args.empty() || !enter.args[0].is(ValueKind::string))
    throw Error(ErrorCode::ModulizeError, "the region %" + enter.name + " does not name what it enters");
  return "with " + call(names_.qualified(enter.args[0].text()), enter, 1).text + ":";
}

std::string ExpressionWriter::statement(const Node& node, NodeId id, std::vector<int>& prefixes) {
  prefixes_ = &prefixes;
  if (node.op == Opcode::output) return "return " + (node.args.empty() ? "None" : value(node.args[0]).text);
  if (is_enter(node)) return with_statement(node);
  const std::string& variable = plan_.variable[id];
  if (node.op == Opcode::call_function && node.kwargs.empty()) {
    const std::string_view name = operator_name(node.target);
    if (variable.empty() && name == "setitem" && node.args.size() == 3)
      return subscript(value(node.args[0]), node.args[1]).text + " = " + value(node.args[2]).text;
    if (variable.empty() && name == "delitem" && node.args.size() == 2)
      return "del " + subscript(value(node.args[0]), node.args[1]).text;
    // As a statement only where the name that is bound anew is the operand's own.
    if (const Operator* op = find(kInPlace, name); op && node.args.size() == 2 && node.args[0].is_node()) {
      if (!variable.empty() && value(node.args[0]).text == variable)
        return variable + std::string(op->sign) + value(node.args[1]).text;
    }
  }
  std::string text = this->node(node).text;
  return variable.empty() ? text : variable + " = " + text;
}

bool ExpressionWriter::is_chained(const Node& node, NodeId id, NodeId input) const {
  return options_.access == ModuleAccess::lookup && node.op == Opcode::call_module && node.kwargs.empty() &&
         node.args.size() == 1 && node.args[0].is_node() && node.args[0].as_node() == input && !plan_.inlined[input] &&
         !plan_.variable[id].empty() && plan_.variable[id] == plan_.variable[input] &&
         (!options_.tree.is_module || options_.tree.is_module(node.target));
}

std::string ExpressionWriter::chained_call(const Node& node, NodeId id, const std::string& name,
                                           std::vector<int>& prefixes) {
  prefixes_ = &prefixes;
  const std::string& variable = plan_.variable[id];
  return variable + " = " + children(split_path(node.target).first) + "[" + name + "](" + variable + ")";
}

}  // namespace modulize
