#include "codegen/codegen.h"

#include <map>

#include "codegen/expression.h"
#include "codegen/source_names.h"
#include "codegen/variables.h"
#include "ir/namer.h"
#include "ir/regions.h"
#include "support/error.h"
#include "support/identifier.h"
#include "support/python_repr.h"

namespace modulize {

namespace {

class Writer {
 public:
  Writer(const Graph& graph, const CodegenOptions& options)
      : graph_(graph),
        options_(options),
        names_(graph, options.spellings),
        plan_(plan_variables(graph, names_)),
        expressions_(graph, plan_, names_, options) {}

  GeneratedSource run() {
    const std::string replayed = options_.replayed_by_tracers ? replay() : "";
    const std::string head = "def forward(self" + parameters() + "):\n" + replayed;
    const std::size_t head_lines = replayed.empty() ? 0 : 2;
    write_body();
    GeneratedSource source;
    if (pieces_.empty()) {
      source.pieces.push_back(head + body_);
      line_nodes_.insert(line_nodes_.begin(), head_lines, kNoNode);
      source.line_nodes.push_back(std::move(line_nodes_));
    } else {
      finish_piece({});
      std::string forward = head;
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        const Piece& piece = pieces_[i];
        const std::string name = "_forward_" + std::to_string(i + 1);
        const std::string inputs = piece.inputs.empty() ? "" : ", " + piece.inputs;
        source.pieces.push_back("def " + name + "(self" + inputs + "):\n" + piece.body);
        source.line_nodes.push_back(piece.line_nodes);
        forward += i + 1 == pieces_.size() ? "    return "
                   : piece.outputs.empty() ? "    "
                                           : "    " + piece.outputs + " = ";
        forward += name + "(self" + inputs + ")\n";
      }
      source.pieces.push_back(std::move(forward));
      source.line_nodes.emplace_back(head_lines + pieces_.size(), kNoNode);
    }
    names_.write_to(source);
    return source;
  }

 private:
  struct Piece {
    std::string body, inputs, outputs;
    std::vector<NodeId> line_nodes;
  };

  // ", x, flag=False, *args, k=None, **kwargs"
  std::string parameters() {
    std::string text;
    std::size_t index = 0;
    bool positional_only = false, star = false;
    for (const NodeId id : graph_.order()) {
      const Node& node = graph_[id];
      if (node.op != Opcode::placeholder) continue;
      const std::string& name = plan_.variable[id];
      if (!is_parameter_name(name) || name == "self")
        throw Error(ErrorCode::ModulizeError,
                    "cannot spell the parameter " + python_repr(std::string_view(name)) + " of forward");
      const ParameterKind kind = this->kind(node, index++);
      if (positional_only && kind != ParameterKind::positional_only) text += ", /";
      positional_only = kind == ParameterKind::positional_only;
      if (kind == ParameterKind::keyword_only && !star) {
        text += ", *";
        star = true;
      }
      star |= kind == ParameterKind::var_positional;
      text += kind == ParameterKind::var_positional ? ", *" : kind == ParameterKind::var_keyword ? ", **" : ", ";
      text += name;
      if (!node.args.empty()) text += "=" + expressions_.literal(node.args[0]);
    }
    if (positional_only) text += ", /";
    return text;
  }

  std::string replay() {
    const std::string names = parameter_names();
    if (names.empty()) return "";
    return "    if " + names_.qualified("modulize._prepared.is_traced") + "(" + names + "):\n        return " +
           names_.qualified("modulize._prepared.replay") + "(self, " + names + ")\n";
  }

  ParameterKind kind(const Node& node, std::size_t index) const {
    if (node.target.starts_with("**")) return ParameterKind::var_keyword;
    if (node.target.starts_with("*")) return ParameterKind::var_positional;
    return index < graph_.parameter_kinds.size() ? graph_.parameter_kinds[index] : ParameterKind::positional_or_keyword;
  }

  void write_body() {
    // Values that are held and read later, by order of definition.
    std::map<std::size_t, NodeId> live;
    std::vector<std::size_t> defined(graph_.id_limit(), 0);
    std::vector<bool> read(graph_.id_limit(), false);
    for (const Statement& statement : plan_.statements)
      for (const NodeId in : statement.reads) read[in] = true;
    std::size_t order = 0;
    for (const NodeId id : graph_.order()) {
      if (graph_[id].op != Opcode::placeholder || !read[id]) continue;
      live.emplace(defined[id] = order++, id);
    }

    bool returned = false;
    std::vector<int> prefixes;
    for (std::size_t index = 0; index < plan_.statements.size();) {
      // A region is one block of one function.
      if (lines_ >= options_.chunk_lines && blocks_.empty()) cut(live);
      const std::size_t length = chain_length(index);
      const Statement& last = plan_.statements[index + length - 1];
      const Node& node = graph_[last.node];
      if (is_leave(node)) {
        end_block(node);
        ++index;
        continue;
      }
      prefixes.clear();
      std::string text;
      if (length > 1) {
        if (chain_name_.empty()) chain_name_ = names_.unique("name");
        text = "    " + expressions_.chained_call(node, last.node, chain_name_, prefixes);
      } else {
        text = expressions_.statement(node, last.node, prefixes);
      }
      for (const int prefix : prefixes) declare(prefix);
      if (length > 1) line(chain_head(index, length), last.node);
      line(text, last.node);
      returned = node.op == Opcode::output;
      if (is_enter(node)) {
        blocks_.push_back(last.node);
        block_is_empty_ = true;
      }
      delete_dead(last);
      for (const std::size_t end = index + length; index < end; ++index) {
        const Statement& statement = plan_.statements[index];
        for (const NodeId in : statement.dies) live.erase(defined[in]);
        if (read[statement.node]) live.emplace(defined[statement.node] = order++, statement.node);
      }
    }
    if (!blocks_.empty())
      throw Error(ErrorCode::ModulizeError, "the region %" + graph_[blocks_.back()].name + " is never left");
    if (!returned) line("return None");
  }

  // A row of modules of one parent, each called on what the one before gave, runs as a loop over their names: half the
  // time to compile, and one place in the code for the interpreter to specialise. Not as nested calls, which would hold
  // the first argument to the end. 1 where there is none.
  std::size_t chain_length(std::size_t begin) const {
    constexpr std::size_t kShortest = 3, kLongest = 200;
    const auto at = [&](std::size_t index) -> const Node& { return graph_[plan_.statements[index].node]; };
    const Node& first = at(begin);
    if (first.op != Opcode::call_module || first.args.size() != 1 || !first.args[0].is_node()) return 1;
    const std::string_view parent = split_path(first.target).first;
    NodeId input = first.args[0].as_node();
    std::size_t end = begin;
    while (end < plan_.statements.size() && end - begin < kLongest) {
      const Statement& statement = plan_.statements[end];
      const Node& node = at(end);
      if (!expressions_.is_chained(node, statement.node, input) || split_path(node.target).first != parent) break;
      input = statement.node;
      ++end;
      if (!statement.deletes.empty()) break;
    }
    return end - begin < kShortest ? 1 : end - begin;
  }

  // `for name in ("conv2", "bn2", "relu"):`
  std::string chain_head(std::size_t begin, std::size_t length) const {
    std::string text = "for " + chain_name_ + " in (";
    for (std::size_t i = 0; i < length; ++i)
      text += (i ? ", " : "") + quoted(split_path(graph_[plan_.statements[begin + i].node].target).second);
    return text + "):";
  }

  void end_block(const Node& leave) {
    if (blocks_.empty() || region_of_leave(leave) != blocks_.back())
      throw Error(ErrorCode::ModulizeError, "%" + leave.name + " does not leave the region that was entered last");
    if (block_is_empty_) line("pass");
    blocks_.pop_back();
  }

  void delete_dead(const Statement& statement) {
    if (statement.deletes.empty()) return;
    std::string names;
    for (const std::string& name : statement.deletes) names += (names.empty() ? "" : ", ") + name;
    line("del " + names);
  }

  void line(const std::string& text, NodeId node = kNoNode) {
    line_nodes_.push_back(node);
    body_.append(4 * (1 + blocks_.size()), ' ');
    body_ += text;
    body_ += '\n';
    ++lines_;
    block_is_empty_ = false;
  }

  void declare(int index) {
    const PrefixLocal& local = expressions_.prefix_locals()[index];
    if (declared_.size() <= static_cast<std::size_t>(index)) declared_.resize(index + 1);
    if (declared_[index]) return;
    declared_[index] = true;
    if (local.parent >= 0) declare(local.parent);
    line(local.name + " = " + local.value);
  }

  void cut(const std::map<std::size_t, NodeId>& live) {
    std::string names;
    for (const auto& [order, id] : live) names += (names.empty() ? "" : ", ") + plan_.variable[id];
    if (!names.empty()) line("return " + names);
    finish_piece(names);
  }

  void finish_piece(std::string outputs) {
    std::string inputs = pieces_.empty() ? parameter_names() : pieces_.back().outputs;
    pieces_.push_back({std::move(body_), std::move(inputs), std::move(outputs), std::move(line_nodes_)});
    body_.clear();
    line_nodes_.clear();
    lines_ = 0;
    declared_.clear();
  }

  // Every parameter, read or not.
  std::string parameter_names() const {
    std::string names;
    for (const NodeId id : graph_.order())
      if (graph_[id].op == Opcode::placeholder) names += (names.empty() ? "" : ", ") + plan_.variable[id];
    return names;
  }

  const Graph& graph_;
  const CodegenOptions& options_;
  SourceNames names_;
  VariablePlan plan_;
  ExpressionWriter expressions_;
  std::string body_;
  std::vector<NodeId> line_nodes_;  // of the body
  std::size_t lines_ = 0;
  std::string chain_name_;      // the loops' variable
  std::vector<NodeId> blocks_;  // regions entered and not yet left
  bool block_is_empty_ = false;
  std::vector<bool> declared_;
  std::vector<Piece> pieces_;
};

}  // namespace

std::string GeneratedSource::text() const {
  std::string out;
  for (const std::string& piece : pieces) {
    if (!out.empty()) out += "\n";
    out += piece;
  }
  return out;
}

GeneratedSource generate(const Graph& graph, const CodegenOptions& options) { return Writer(graph, options).run(); }

}  // namespace modulize
