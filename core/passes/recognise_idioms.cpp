// A composition written by hand becomes the one call that it means.
//
//   %a = call_method sigmoid(%x)
//   %b = call_method mul(%x, %a)
// ==>
//   %b = call_function torch.nn.functional.silu(%x)
//
// The compositions stand in idiom_table.cpp, as graphs. Calls are compared by what the op table knows of them: every
// spelling of an operation is the same, sums and products in either order, numbers to six digits. What the composition
// computes on the way is read by nothing else, and nothing writes into a tensor or opens a branch, region or block
// between its first and last call.
//
// Only with the option idioms: outputs are equal to rounding.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <span>

#include "ir/blocks.h"
#include "ir/control.h"
#include "ir/parser.h"
#include "ir/regions.h"
#include "ops/effects_of.h"
#include "ops/lowering.h"
#include "ops/op_match.h"
#include "passes/idiom_table.h"
#include "passes/pass.h"

namespace modulize {

namespace {

struct Pattern {
  std::string_view name;
  Graph graph;
  NodeId from = kNoNode;  // the last call of what people write
  NodeId to = kNoNode;    // the call it becomes
};

const std::vector<Pattern>& patterns() {
  static const std::vector<Pattern> all = [] {
    std::vector<Pattern> out;
    for (const Idiom& idiom : idioms()) {
      Pattern pattern{idiom.name, parse(idiom.text)};
      const ValueList& pair = pattern.graph[pattern.graph.output()].args[0].items();
      pattern.from = pair[0].as_node();
      pattern.to = pair[1].as_node();
      out.push_back(std::move(pattern));
    }
    return out;
  }();
  return all;
}

std::optional<double> number_of(const Value& value) {
  if (value.is(ValueKind::integer)) return static_cast<double>(value.as_integer());
  if (value.is(ValueKind::floating)) return value.as_floating();
  return std::nullopt;
}

bool same_number(double a, double b) { return std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b)); }

/// What the nodes of a pattern stand for in the graph.
using Bindings = std::map<NodeId, Value>;

class Matcher {
 public:
  Matcher(const Graph& graph, const std::vector<ValueType>& types, const Pattern& pattern)
      : graph_(graph), types_(types), pattern_(pattern.graph), root_(pattern.from) {}

  std::optional<Bindings> match(NodeId id) const {
    Bindings bindings;
    if (!match_call(root_, id, bindings)) return std::nullopt;
    return bindings;
  }

 private:
  bool match_value(const Value& wanted, const Value& found, Bindings& bindings) const {
    if (wanted.is_node()) return match_node(wanted.as_node(), found, bindings);
    if (const auto number = number_of(wanted)) {
      // `mean(-1)` and `mean([-1])`
      if ((found.is(ValueKind::list) || found.is(ValueKind::tuple)) && found.items().size() == 1)
        return match_value(wanted, found.items()[0], bindings);
      const auto other = number_of(found);
      return other && same_number(*number, *other);
    }
    return wanted == found;
  }

  bool match_node(NodeId wanted, const Value& found, Bindings& bindings) const {
    if (const auto it = bindings.find(wanted); it != bindings.end()) {
      const auto a = number_of(it->second), b = number_of(found);
      return a && b ? same_number(*a, *b) : it->second == found;
    }
    const Node& node = pattern_[wanted];
    if (node.op != Opcode::placeholder) return found.is_node() && match_call(wanted, found.as_node(), bindings);
    Value value = found;
    if (node.type == ValueType::tensor) {
      if (!found.is_node()) return false;
      const ValueType type = types_[found.as_node()];
      if (type != ValueType::tensor && type != ValueType::unknown) return false;
    } else if (node.type == ValueType::number) {
      if ((found.is(ValueKind::list) || found.is(ValueKind::tuple)) && found.items().size() == 1)
        value = found.items()[0];
      if (!number_of(value)) return false;
    }
    bindings.emplace(wanted, std::move(value));
    return true;
  }

  bool match_call(NodeId wanted, NodeId found, Bindings& bindings) const {
    const Node &a = pattern_[wanted], &b = graph_[found];
    if (b.op != Opcode::call_function && b.op != Opcode::call_method) return false;
    Bindings tried = bindings;
    tried.emplace(wanted, Value::node(found));
    const OpSpelling *sa = find_op(a), *sb = find_op(b);
    bool same = false;
    if (sa && sb && sa->op == sb->op && !sb->writes_first) {
      const auto wants = bind_arguments(*sa, a), has = bind_arguments(*sb, b);
      same = wants && has && match_arguments(*sa->op, wants->values, has->values, tried) &&
             match_settings(settings(*sa->op, *wants), settings(*sb->op, *has), tried);
    } else if (!sa && !sb) {
      same =
          a.op == b.op && a.target == b.target && a.args.size() == b.args.size() && a.kwargs.size() == b.kwargs.size();
      for (std::size_t i = 0; same && i < a.args.size(); ++i) same = match_value(a.args[i], b.args[i], tried);
      for (const auto& [key, value] : a.kwargs) {
        const Value* other = same ? b.find_kwarg(key) : nullptr;
        same = same && other && match_value(value, *other, tried);
      }
    }
    if (same) bindings = std::move(tried);
    return same;
  }

  using Settings = std::map<std::string, Value>;

  // The further arguments of a reduction, whose row leaves them open, by their names; None as if it were left out.
  static Settings settings(const Op& op, const BoundArguments& bound) {
    Settings out;
    static constexpr std::string_view kNames[] = {"dim", "keepdim"}, kOfVariance[] = {"dim", "unbiased", "keepdim"};
    const std::span<const std::string_view> names =
        op.base == "var" ? std::span<const std::string_view>(kOfVariance) : std::span<const std::string_view>(kNames);
    for (std::size_t i = 0; i < bound.var_args.size(); ++i)
      out.emplace(i < names.size() ? std::string(names[i]) : "?", bound.var_args[i]);
    for (const auto& [key, value] : bound.var_kwargs)
      if (key == "correction" && number_of(value) == 0.0)
        out.emplace("unbiased", Value::boolean(false));
      else if (!value.is_none())
        out.emplace(key, value);
    return out;
  }

  bool match_settings(const Settings& wanted, const Settings& found, Bindings& bindings) const {
    return wanted.size() == found.size() &&
           std::equal(wanted.begin(), wanted.end(), found.begin(), [&](const auto& a, const auto& b) {
             return a.first == b.first && match_value(a.second, b.second, bindings);
           });
  }

  bool match_arguments(const Op& op, const ValueList& wanted, const ValueList& found, Bindings& bindings) const {
    const auto all = [&](bool swapped) {
      Bindings tried = bindings;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        const std::size_t at = swapped && i < 2 ? 1 - i : i;
        if (op.is_ignored(i)) continue;
        if (!match_value(wanted[i], found[at], tried)) return false;
      }
      bindings = std::move(tried);
      return true;
    };
    const bool commutes = op.base == "add" || op.base == "mul";
    return all(false) || (commutes && wanted.size() >= 2 && all(true));
  }

  const Graph& graph_;
  const std::vector<ValueType>& types_;
  const Graph& pattern_;
  const NodeId root_;
};

bool is_border(const Node& node) {
  return is_bracket(node) || is_enter(node) || is_leave(node) || is_call_of(node, kBeginBlock) ||
         is_call_of(node, kEndBlock) || node.target == kSetGradients;
}

class Recogniser {
 public:
  Recogniser(Graph& graph, const PassContext& context) : graph_(graph), context_(context) {}

  bool run() {
    bool modified = false;
    // What one idiom writes may be part of another.
    while (sweep()) modified = true;
    return modified;
  }

 private:
  bool sweep() {
    // By what type an input has, and who reads a node: as the graph is before the sweep.
    const Lowerings lowerings(graph_, "torch");
    bool found = false;
    for (const Pattern& pattern : patterns())
      for (const NodeId id : graph_.order()) {
        const Matcher matcher(graph_, lowerings.types(), pattern);
        const auto bindings = matcher.match(id);
        if (bindings && rewrite(pattern, id, *bindings)) found = true;
      }
    return found;
  }

  bool rewrite(const Pattern& pattern, NodeId id, const Bindings& bindings) {
    std::vector<NodeId> inside;
    for (const auto& [wanted, value] : bindings)
      if (pattern.graph[wanted].op != Opcode::placeholder && value.as_node() != id) inside.push_back(value.as_node());
    std::sort(inside.begin(), inside.end());
    inside.erase(std::unique(inside.begin(), inside.end()), inside.end());
    if (!stands_alone(inside, id)) return false;
    const Node& call = pattern.graph[pattern.to];
    ValueList args;
    Kwargs kwargs;
    std::optional<Value> value;
    for (const Value& arg : call.args) {
      if (!(value = replaced(pattern.graph, arg, bindings))) return false;
      args.push_back(std::move(*value));
    }
    for (const auto& [key, arg] : call.kwargs) {
      if (!(value = replaced(pattern.graph, arg, bindings))) return false;
      kwargs.emplace_back(key, std::move(*value));
    }
    Node& node = graph_[id];
    node.op = call.op;
    node.target = call.target;
    node.args = std::move(args);
    node.kwargs = std::move(kwargs);
    // Users before what they use.
    std::vector<NodeId> order;
    for (NodeId at = id; order.size() < inside.size(); at = graph_[at].prev)
      if (std::binary_search(inside.begin(), inside.end(), at)) order.push_back(at);
    for (const NodeId gone : order) graph_.erase(gone);
    if (context_.conversions)
      context_.conversions->push_back({.pass = "recognise_idioms",
                                       .from = std::string(pattern.name),
                                       .to = call.target,
                                       .path = "",
                                       .scope = graph_.scope(node.scope).path,
                                       .where = graph_.where(node)});
    return true;
  }

  // Nothing else reads the nodes, and nothing between the first of them and `last` changes what they read.
  bool stands_alone(const std::vector<NodeId>& inside, NodeId last) const {
    const auto is_inside = [&](NodeId id) { return std::binary_search(inside.begin(), inside.end(), id); };
    std::size_t seen = 0;
    bool alone = true;
    for (NodeId id = graph_.last(); id != kNoNode && alone; id = graph_[id].prev) {
      const bool is_part = id == last || is_inside(id);
      if (!is_part) graph_[id].for_each_input([&](NodeId in) { alone = alone && !is_inside(in); });
    }
    for (NodeId id = graph_[last].prev; alone && seen < inside.size(); id = graph_[id].prev) {
      if (id == kNoNode) return false;
      if (is_inside(id)) {
        ++seen;
      } else if (is_border(graph_[id]) || may_write_memory(graph_[id], graph_)) {
        alone = false;
      }
    }
    return alone;
  }

  // What a parameter of the replacement stands for; nothing if that is not known.
  std::optional<Value> replaced(const Graph& pattern, const Value& arg, const Bindings& bindings) const {
    if (!arg.is_node()) return arg;
    if (const auto it = bindings.find(arg.as_node()); it != bindings.end()) return it->second;
    const std::string& name = pattern[arg.as_node()].target;
    const std::size_t dot = name.rfind('.');
    if (dot == std::string::npos) return std::nullopt;
    for (const auto& [wanted, value] : bindings) {
      if (pattern[wanted].target != std::string_view(name).substr(0, dot)) continue;
      if (name.substr(dot) == ".reciprocal") return Value::floating(1.0 / *number_of(value));
      const Node& held = graph_[value.as_node()];
      const TensorSpec* tensor = held.op == Opcode::get_attr ? graph_.modules.find_tensor(held.target) : nullptr;
      if (!tensor || tensor->shape.size() != 1) return std::nullopt;
      return Value::tuple({Value::integer(tensor->shape[0])});
    }
    return std::nullopt;
  }

  Graph& graph_;
  const PassContext& context_;
};

}  // namespace

PassResult recognise_idioms(Graph& graph, const PassContext& context) {
  if (!context.options.idioms) return {};
  return {.modified = Recogniser(graph, context).run()};
}

}  // namespace modulize
