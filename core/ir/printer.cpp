#include "ir/printer.h"

#include <algorithm>

#include "ir/parser.h"
#include "ir/scope_tree.h"
#include "support/python_repr.h"
#include "support/text.h"

namespace modulize {

namespace {

std::string_view tensor_kind_name(TensorKind kind) {
  switch (kind) {
    case TensorKind::parameter:
      return "parameter";
    case TensorKind::buffer:
      return "buffer";
    case TensorKind::constant:
      return "constant";
  }
  return "";
}

class Printer {
 public:
  Printer(const Graph& graph, std::string& out, int depth) : graph_(graph), out_(out), depth_(depth) {}

  void print_graph() {
    out_ += "graph ";
    path(graph_.name);
    out_ += " {\n";
    for (const ModuleSpec& spec : graph_.modules.modules()) module(spec);
    for (const TensorSpec& spec : graph_.modules.tensors()) tensor(spec);
    for (const std::string& name : graph_.modules.taken()) {
      indent(1);
      out_ += "taken ";
      path(name);
      out_ += '\n';
    }
    for (const NodeId id : graph_.order()) {
      indent(1);
      node(id);
      out_ += '\n';
    }
    indent(0);
    out_ += '}';
  }

  void single_node(NodeId id) {
    for (NodeId i = graph_.first(); i != id && i < graph_.id_limit(); i = graph_[i].next)
      if (graph_[i].op == Opcode::placeholder)
        ++placeholder_number_;
      else
        break;
    node(id);
  }

  void node(NodeId id) {
    const Node& node = graph_[id];
    if (node.op == Opcode::output) {
      out_ += "output";
      type(node.type);
    } else {
      reference(id);
      type(node.type);
      out_ += " = ";
      out_ += opcode_name(node.op);
    }
    out_ += ' ';
    expression(node);
    scope(node.scope);
    if (node.source < graph_.sources().size()) {
      const Source& source = graph_.source(node.source);
      if (!source.file.empty() || source.line != 0) {
        out_ += " at ";
        append_quoted(out_, source.file);
        out_ += ':';
        append_repr(out_, static_cast<std::int64_t>(source.line));
      }
    }
  }

  void description(NodeId id) {
    is_for_people_ = true;
    const Node& node = graph_[id];
    if (node.op == Opcode::placeholder)
      path(node.target);
    else
      expression(node);
  }

  /// What stands behind the opcode.
  void expression(const Node& node) {
    switch (node.op) {
      case Opcode::placeholder:
        placeholder(node);
        break;
      case Opcode::get_attr:
        path(node.target);
        break;
      case Opcode::output:
        if (!node.args.empty()) value(node.args[0], 0);
        break;
      case Opcode::call_function:
        if (node.callee.is_none())
          path(node.target);
        else
          value(node.callee, 0);
        call(node.args, node.kwargs);
        break;
      case Opcode::call_method:
      case Opcode::call_module:
        path(node.target);
        call(node.args, node.kwargs);
        break;
    }
  }

  void value(const Value& v, int depth) {
    if (depth > 2 * kMaxValueDepth) {
      out_ += "<nested too deeply>";
      return;
    }
    switch (v.kind()) {
      case ValueKind::none:
        out_ += "None";
        break;
      case ValueKind::boolean:
        out_ += v.as_boolean() ? "True" : "False";
        break;
      case ValueKind::integer:
        append_repr(out_, v.as_integer());
        break;
      case ValueKind::floating:
        append_repr(out_, v.as_floating());
        break;
      case ValueKind::ellipsis:
        out_ += "...";
        break;
      case ValueKind::node:
        reference(v.as_node());
        break;
      case ValueKind::object:
        out_ += '@';
        append_repr(out_, static_cast<std::int64_t>(v.as_object().id));
        if (v.as_object().label && !v.as_object().label->empty()) {
          out_ += ':';
          append_quoted(out_, *v.as_object().label);
        }
        break;
      case ValueKind::string:
        append_repr(out_, v.text());
        break;
      case ValueKind::name: {
        const std::string& text = v.text();
        if (is_qualified_name(text) && text != "None" && text != "True" && text != "False") {
          out_ += text;
        } else {
          out_ += "name(";
          append_quoted(out_, text);
          out_ += ')';
        }
        break;
      }
      case ValueKind::tuple:
        out_ += '(';
        items(v.items(), depth);
        if (v.items().size() == 1) out_ += ',';
        out_ += ')';
        break;
      case ValueKind::list:
        out_ += '[';
        items(v.items(), depth);
        out_ += ']';
        break;
      case ValueKind::slice:
        out_ += "slice(";
        items(v.items(), depth);
        out_ += ')';
        break;
      case ValueKind::dict: {
        out_ += '{';
        bool first = true;
        for (const auto& [key, item] : v.dict_items()) {
          if (!first) out_ += ", ";
          first = false;
          value(key, depth + 1);
          out_ += ": ";
          value(item, depth + 1);
        }
        out_ += '}';
        break;
      }
    }
  }

 private:
  void indent(int more) { out_.append(2 * static_cast<std::size_t>(depth_ + more), ' '); }

  void path(std::string_view text) {
    if (is_plain_path(text))
      out_ += text;
    else
      append_quoted(out_, text);
  }

  void reference(NodeId id) {
    if (!is_for_people_) out_ += '%';
    if (id >= graph_.id_limit() || !graph_[id].alive) {
      out_ += "<dead ";
      append_repr(out_, static_cast<std::int64_t>(id));
      out_ += '>';
      return;
    }
    const std::string& name = graph_[id].name;
    // A dot is no part of a bare name.
    if (is_plain_path(name) && name.find('.') == std::string::npos)
      out_ += name;
    else
      append_quoted(out_, name);
  }

  void type(ValueType t) {
    if (t == ValueType::unknown) return;
    out_ += ": ";
    out_ += value_type_name(t);
  }

  void items(const ValueList& list, int depth) {
    bool first = true;
    for (const Value& item : list) {
      if (!first) out_ += ", ";
      first = false;
      value(item, depth + 1);
    }
  }

  void call(const ValueList& args, const Kwargs& kwargs) {
    out_ += '(';
    bool first = true;
    for (const Value& arg : args) {
      if (!first) out_ += ", ";
      first = false;
      value(arg, 0);
    }
    for (const auto& [key, arg] : kwargs) {
      if (!first) out_ += ", ";
      first = false;
      if (is_identifier(key))
        out_ += key;
      else
        append_quoted(out_, key);
      out_ += '=';
      value(arg, 0);
    }
    out_ += ')';
  }

  void placeholder(const Node& node) {
    const std::size_t stars = std::min<std::size_t>(node.target.find_first_not_of('*'), node.target.size());
    const std::size_t shown = std::min<std::size_t>(stars, 2);
    out_.append(shown, '*');
    path(std::string_view(node.target).substr(shown));
    if (!node.args.empty()) {
      out_ += " default ";
      value(node.args[0], 0);
    }
    const ParameterKind implied = shown == 2   ? ParameterKind::var_keyword
                                  : shown == 1 ? ParameterKind::var_positional
                                               : ParameterKind::positional_or_keyword;
    const std::size_t number = placeholder_number_++;
    const ParameterKind kind = number < graph_.parameter_kinds.size() ? graph_.parameter_kinds[number] : implied;
    if (kind == implied) return;
    out_ += ' ';
    out_ += parameter_kind_name(kind);
  }

  void inner(const std::shared_ptr<const Graph>& graph) {
    if (!graph)
      out_ += "graph <null>";
    else if (depth_ > 2 * kMaxGraphDepth)
      out_ += "graph <nested too deeply>";
    else
      Printer(*graph, out_, depth_ + 1).print_graph();
  }

  void module(const ModuleSpec& spec) {
    indent(1);
    out_ += "module ";
    path(spec.path);
    out_ += " = ";
    switch (spec.kind) {
      case ModuleKind::existing:
        out_ += "existing ";
        path(spec.type);
        break;
      case ModuleKind::constructed:
        // A class may be called like one of the words that stand here.
        if (is_plain_path(spec.type) && spec.type != "existing" && spec.type != "copy" && spec.type != "graph" &&
            spec.type != "branch")
          out_ += spec.type;
        else
          append_quoted(out_, spec.type);
        call(spec.args, spec.kwargs);
        break;
      case ModuleKind::copy:
        out_ += "copy ";
        path(spec.copy_of);
        if (spec.untied) out_ += " untied";
        break;
      case ModuleKind::graph:
        inner(spec.graph);
        if (!spec.copy_of.empty()) {
          out_ += " copy ";
          path(spec.copy_of);
          if (spec.untied) out_ += " untied";
        }
        break;
      case ModuleKind::branch:
        out_ += "branch ";
        inner(spec.graph);
        out_ += " else ";
        inner(spec.graph_else);
        break;
    }
    if (spec.training) out_ += " training";
    if (!spec.base.empty()) {
      out_ += " for ";
      path(spec.base);
    }
    bool first = true;
    for (const auto& [name, tensor_path] : spec.adopts) {
      out_ += first ? " adopt " : ", ";
      first = false;
      path(name);
      out_ += '=';
      path(tensor_path);
    }
    out_ += '\n';
  }

  void tensor(const TensorSpec& spec) {
    indent(1);
    out_ += tensor_kind_name(spec.kind);
    out_ += ' ';
    path(spec.path);
    out_ += ": ";
    path(spec.dtype);
    out_ += '[';
    for (std::size_t i = 0; i < spec.shape.size(); ++i) {
      if (i) out_ += ", ";
      append_repr(out_, spec.shape[i]);
    }
    out_ += "]\n";
  }

  void scope(ScopeId id) {
    if (id == kRootScope) return;
    out_ += " in ";
    if (id >= graph_.scopes().size()) {
      out_ += "<no scope ";
      append_repr(out_, static_cast<std::int64_t>(id));
      out_ += '>';
      return;
    }
    if (seen_.empty()) {
      seen_.resize(graph_.scopes().size());
      seen_[kRootScope] = true;
    }
    // From the scope outwards, as far as the parser cannot know the parent.
    std::vector<ScopeId> fresh;
    scope_path(id);
    while (!seen_[id]) {
      seen_[id] = true;
      fresh.push_back(id);
      const Scope& s = graph_.scope(id);
      if (s.parent >= graph_.scopes().size()) break;
      if (seen_[s.parent] && scope_tree_.guess_parent(s.path) == s.parent) break;
      out_ += " of ";
      scope_path(s.parent);
      id = s.parent;
    }
    for (auto it = fresh.rbegin(); it != fresh.rend(); ++it) scope_tree_.add(graph_.scope(*it).path, *it);
  }

  void scope_path(ScopeId id) {
    const Scope& s = graph_.scope(id);
    path(s.path);
    if (s.call == 0) return;
    out_ += '#';
    append_repr(out_, static_cast<std::int64_t>(s.call));
  }

  const Graph& graph_;
  std::string& out_;
  const int depth_;
  bool is_for_people_ = false;
  std::size_t placeholder_number_ = 0;
  std::vector<bool> seen_;  // by ScopeId; empty until the first scope
  ScopeTree scope_tree_;
};

}  // namespace

std::string print(const Graph& graph) {
  std::string out;
  out.reserve(graph.size() * 64);
  Printer(graph, out, 0).print_graph();
  out += '\n';
  return out;
}

std::string print_value(const Graph& graph, const Value& value) {
  std::string out;
  Printer(graph, out, 0).value(value, 0);
  return out;
}

std::string print_node(const Graph& graph, NodeId id) {
  std::string out;
  Printer(graph, out, 0).single_node(id);
  return out;
}

std::string describe_node(const Graph& graph, NodeId id) {
  std::string out;
  Printer(graph, out, 0).description(id);
  return out;
}

}  // namespace modulize
