// Recursive descent over the bytes; one token of look-ahead. The form stands at the top of printer.h.
#include "ir/parser.h"

#include <limits>
#include <optional>
#include <string>
#include <unordered_map>

#include "ir/scope_tree.h"
#include "ir/text_reader.h"
#include "support/error.h"
#include "support/python_repr.h"
#include "support/text.h"

namespace modulize {

namespace {

template <class Enum, class NameOf>
std::optional<Enum> find_enum(std::string_view word, Enum last, NameOf&& name_of) {
  for (int i = 0; i <= static_cast<int>(last); ++i)
    if (name_of(static_cast<Enum>(i)) == word) return static_cast<Enum>(i);
  return std::nullopt;
}

/// What one graph body knows while it is read.
struct Body {
  Graph graph;
  std::unordered_map<std::string, NodeId> nodes;
  std::unordered_map<std::string, ScopeId> scopes;  // "<call>:<path>"
  ScopeTree scope_tree;
};

struct ScopeName {
  std::size_t at;
  std::string path;
  std::uint32_t call;
};

class Parser : TextReader {
 public:
  explicit Parser(std::string_view text) : TextReader(text) {}

  Graph parse_text() {
    skip_lines();
    if (peek_word() != "graph") fail("'graph'");
    Graph graph = parse_graph(0);
    skip_lines();
    if (!at_end()) fail("the end of the text");
    return graph;
  }

 private:
  // --- values ----------------------------------------------------------------------------------
  Value parse_value(int depth) {
    skip();
    const char c = peek();
    if (depth > kMaxValueDepth)
      throw_at(pos_, "values nest more than " + std::to_string(kMaxValueDepth) + " deep here");
    switch (c) {
      case '%':
        return Value::node(parse_reference());
      case '@':
        return parse_object();
      case '(': {
        bool comma = false;
        ValueList items = parse_items('(', ')', depth, &comma);
        if (items.size() == 1 && !comma) fail_at(pos_ - 1, "',' (a tuple of one item is `(x,)`)");
        return Value::tuple(std::move(items));
      }
      case '[':
        return Value::list(parse_items('[', ']', depth, nullptr));
      case '{':
        return parse_dict(depth);
      case '"':
      case '\'':
        return Value::string(parse_string());
      case '.':
        if (!starts_with("...")) break;
        pos_ += 3;
        return Value::ellipsis();
      case '-':
        return parse_number();
      default:
        if (is_digit(c)) return parse_number();
        if (is_word_char(c)) return parse_name(depth);
    }
    fail("a value");
  }

  // The opening bracket stands at pos_. `comma`: whether the last item had one behind it.
  ValueList parse_items(char open, char close, int depth, bool* comma) {
    ValueList items;
    ++brackets_;
    expect(open);
    const std::string alternatives = std::string("',' or '") + close + "'";
    while (!accept(close)) {
      items.push_back(parse_value(depth + 1));
      const bool more = accept(',');
      if (comma) *comma = more;
      if (!more) {
        expect(close, alternatives.c_str());
        break;
      }
    }
    --brackets_;
    return items;
  }

  Value parse_dict(int depth) {
    ValueDict items;
    ++brackets_;
    expect('{');
    while (!accept('}')) {
      Value key = parse_value(depth + 1);
      expect(':');
      Value item = parse_value(depth + 1);
      items.emplace_back(std::move(key), std::move(item));
      if (!accept(',')) {
        expect('}', "',' or '}'");
        break;
      }
    }
    --brackets_;
    return Value::dict(std::move(items));
  }

  Value parse_object() {
    ++pos_;
    if (!is_digit(peek())) fail("the number of an object");
    const ObjectId id = parse_integer<ObjectId>("the number of an object, of 32 bits");
    std::string label;
    if (peek() == ':') {
      // `{@7: 1}` is a key; a label follows its colon at once.
      const char next = pos_ + 1 < text_.size() ? text_[pos_ + 1] : '\0';
      if (next == '"' || next == '\'') {
        ++pos_;
        label = parse_string();
      }
    }
    return Value::object(id, std::move(label));
  }

  // None, True, False, float("inf"), slice(...), name("..."), or a qualified name.
  Value parse_name(int depth) {
    const std::size_t start = pos_;
    const std::string_view word = peek_word();
    pos_ += word.size();
    if (word == "None") return Value::none();
    if (word == "True") return Value::boolean(true);
    if (word == "False") return Value::boolean(false);
    if (peek() == '(' && word == "slice") {
      ValueList items = parse_items('(', ')', depth, nullptr);
      if (items.size() != 3)
        throw_at(start, "expected three values in slice(...), found " + std::to_string(items.size()));
      return Value::slice(std::move(items[0]), std::move(items[1]), std::move(items[2]));
    }
    if (peek() == '(' && (word == "float" || word == "name")) {
      ++brackets_;
      ++pos_;
      skip();
      const std::size_t inside = pos_;
      if (!at_quote()) fail("a quoted text");
      std::string text = parse_string();
      expect(')');
      --brackets_;
      if (word == "name") return Value::name(std::move(text));
      if (text == "inf") return Value::floating(std::numeric_limits<double>::infinity());
      if (text == "-inf") return Value::floating(-std::numeric_limits<double>::infinity());
      if (text == "nan") return Value::floating(std::numeric_limits<double>::quiet_NaN());
      fail_at(inside, "\"inf\", \"-inf\" or \"nan\"");
    }
    if (!is_qualified_name(word)) fail_at(start, "a qualified name such as torch.float32");
    return Value::name(std::string(word));
  }

  // "%x" or "%\"odd name\"" -> the name.
  std::string parse_node_name() {
    ++pos_;
    if (at_quote()) return parse_string();
    std::size_t end = pos_;
    while (end < text_.size() && is_word_char(text_[end])) ++end;
    if (end == pos_) fail("the name of a node");
    std::string name(text_.substr(pos_, end - pos_));
    pos_ = end;
    return name;
  }

  NodeId parse_reference() {
    const std::size_t start = pos_;
    const auto it = body_->nodes.find(parse_node_name());
    if (it == body_->nodes.end()) fail_at(start, "a node defined above");
    return it->second;
  }

  void parse_call(ValueList& args, Kwargs& kwargs) {
    expect('(');
    ++brackets_;
    while (!accept(')')) {
      skip();
      const std::size_t start = pos_;
      std::optional<std::string> key = parse_key();
      if (key) {
        Value v = parse_value(0);
        kwargs.emplace_back(std::move(*key), std::move(v));
      } else {
        if (!kwargs.empty()) fail_at(start, "a keyword argument (`key=value`)");
        args.push_back(parse_value(0));
      }
      if (!accept(',')) {
        expect(')', "',' or ')'");
        break;
      }
    }
    --brackets_;
  }

  // `key=` of a keyword argument: consumed if it stands here, else nothing is.
  std::optional<std::string> parse_key() {
    const std::size_t start = pos_;
    std::string key;
    if (at_quote()) {
      key = parse_string();
    } else {
      const std::string_view word = peek_word();
      if (!is_identifier(word)) return std::nullopt;
      pos_ += word.size();
      key = word;
    }
    if (accept('=')) return key;
    pos_ = start;
    return std::nullopt;
  }

  // --- declarations ----------------------------------------------------------------------------
  void check_free(std::size_t at, const std::string& path) {
    if (body_->graph.modules.is_taken(path))
      throw_at(at, "the path " + python_repr(path) + " is declared above already");
  }

  std::string parse_declared_path() {
    skip();
    const std::size_t start = pos_;
    std::string path = parse_path("a path");
    check_free(start, path);
    return path;
  }

  void parse_module(int depth) {
    ModuleSpec spec;
    spec.path = parse_declared_path();
    expect('=');
    const std::string_view word = peek_word();
    if (word == "existing") {
      pos_ += word.size();
      spec.kind = ModuleKind::existing;
      spec.type = parse_path("a class name");
    } else if (word == "copy") {
      pos_ += word.size();
      spec.kind = ModuleKind::copy;
      spec.copy_of = parse_path("the path of a module");
      spec.untied = accept_word("untied");
    } else if (word == "graph") {
      spec.kind = ModuleKind::graph;
      Body* const outer = body_;
      spec.graph = std::make_shared<const Graph>(parse_graph(depth + 1));
      body_ = outer;
      if (accept_word("copy")) {
        spec.copy_of = parse_path("the path of a module");
        spec.untied = accept_word("untied");
      }
    } else if (word == "branch") {
      pos_ += word.size();
      spec.kind = ModuleKind::branch;
      Body* const outer = body_;
      if (peek_word() != "graph") fail("'graph'");
      spec.graph = std::make_shared<const Graph>(parse_graph(depth + 1));
      body_ = outer;
      if (!accept_word("else")) fail("'else'");
      if (peek_word() != "graph") fail("'graph'");
      spec.graph_else = std::make_shared<const Graph>(parse_graph(depth + 1));
      body_ = outer;
    } else {
      spec.kind = ModuleKind::constructed;
      spec.type = parse_path("'existing', 'copy', 'graph', 'branch' or a class name");
      parse_call(spec.args, spec.kwargs);
    }
    spec.training = accept_word("training");
    if (accept_word("for")) spec.base = parse_path("a base name");
    if (accept_word("adopt")) {
      do {
        std::string name = parse_path("a tensor's name in the module");
        expect('=');
        std::string tensor = parse_path("the path of a tensor");
        spec.adopts.emplace_back(std::move(name), std::move(tensor));
      } while (accept(','));
    }
    body_->graph.modules.add(std::move(spec));
  }

  void parse_tensor(TensorKind kind) {
    TensorSpec spec;
    spec.kind = kind;
    spec.path = parse_declared_path();
    expect(':');
    spec.dtype = parse_path("a dtype such as float32");
    expect('[');
    ++brackets_;
    while (!accept(']')) {
      spec.shape.push_back(parse_integer<std::int64_t>("a size of 64 bits"));
      if (!accept(',')) {
        expect(']', "',' or ']'");
        break;
      }
    }
    --brackets_;
    body_->graph.modules.add_tensor(std::move(spec));
  }

  // --- nodes -----------------------------------------------------------------------------------
  ValueType parse_type() {
    if (!accept(':')) return ValueType::unknown;
    const std::string_view word = peek_word();
    const auto type = find_enum(word, ValueType::other, value_type_name);
    if (!type) fail("a type (tensor, number, size, other, unknown)");
    pos_ += word.size();
    return *type;
  }

  void parse_node() {
    const std::size_t start = pos_;
    Node node;
    node.name = parse_node_name();
    if (node.name.empty()) fail_at(start, "a name that is not empty");
    const std::string name = node.name;
    if (body_->nodes.contains(name)) fail_at(start, "a new name (this one is defined above)");
    node.type = parse_type();
    expect('=', "'=' or ':'");
    const std::string_view word = peek_word();
    const auto op = find_enum(word, Opcode::call_module, opcode_name);
    if (!op) fail("an opcode (placeholder, get_attr, call_function, call_method, call_module)");
    pos_ += word.size();
    node.op = *op;
    switch (node.op) {
      case Opcode::placeholder:
        parse_placeholder(node);
        break;
      case Opcode::get_attr:
        node.target = parse_path("the path of a tensor");
        break;
      case Opcode::call_function:
        skip();
        if (peek() == '@' || peek() == '%')
          node.callee = parse_value(0);
        else
          node.target = parse_path("a function's qualified name or an object");
        parse_call(node.args, node.kwargs);
        break;
      case Opcode::call_method:
        node.target = parse_path("a method's name");
        parse_call(node.args, node.kwargs);
        break;
      default:
        node.target = parse_path("the path of a module");
        parse_call(node.args, node.kwargs);
    }
    parse_place(node);
    const NodeId id = body_->graph.add(std::move(node));
    // Only the name that an output node was given can be in the way.
    if (body_->graph[id].name != name) fail_at(start, "a new name (the output node has this one)");
    body_->nodes.emplace(name, id);
  }

  void parse_placeholder(Node& node) {
    skip();
    int stars = 0;
    while (stars < 2 && peek() == '*') {
      ++stars;
      ++pos_;
    }
    node.target.assign(static_cast<std::size_t>(stars), '*');
    node.target += parse_path("a parameter's name");
    if (accept_word("default")) node.args.push_back(parse_value(0));
    ParameterKind kind = stars == 2   ? ParameterKind::var_keyword
                         : stars == 1 ? ParameterKind::var_positional
                                      : ParameterKind::positional_or_keyword;
    const std::string_view word = peek_word();
    if (const auto given = find_enum(word, ParameterKind::var_keyword, parameter_kind_name)) {
      pos_ += word.size();
      kind = *given;
    }
    body_->graph.parameter_kinds.push_back(kind);
  }

  void parse_output() {
    Node node;
    node.op = Opcode::output;
    node.type = parse_type();
    node.args.push_back(parse_value(0));
    parse_place(node);
    body_->graph.add(std::move(node));
  }

  // [in SCOPE [of SCOPE]...] [at "file":line]
  void parse_place(Node& node) {
    if (accept_word("in")) node.scope = parse_scope();
    if (!accept_word("at")) return;
    skip();
    if (!at_quote()) fail("a quoted file name");
    const std::string file = parse_string();
    expect(':');
    const int line = parse_integer<int>("a line number");
    node.source = file.empty() && line == 0 ? kNoSource : body_->graph.add_source(file, line);
  }

  ScopeId parse_scope() {
    std::vector<ScopeName> chain;  // innermost first
    do {
      skip();
      ScopeName name{pos_, parse_path("the path of a scope"), 0};
      if (accept('#')) name.call = parse_integer<std::uint32_t>("a call number of 32 bits");
      chain.push_back(std::move(name));
    } while (accept_word("of"));
    std::optional<ScopeId> parent;
    for (auto it = chain.rbegin(); it != chain.rend(); ++it) parent = enter_scope(*it, parent);
    return *parent;
  }

  ScopeId enter_scope(const ScopeName& name, std::optional<ScopeId> parent) {
    Graph& graph = body_->graph;
    const bool is_root = name.path.empty() && name.call == 0;
    const auto [it, fresh] = is_root
                                 ? std::pair(body_->scopes.end(), false)
                                 : body_->scopes.try_emplace(std::to_string(name.call) + ":" + name.path, kRootScope);
    const ScopeId known = is_root ? kRootScope : it->second;
    if (!fresh) {
      if (parent && (is_root || graph.scope(known).parent != *parent))
        throw_at(name.at, "this scope has another parent above");
      return known;
    }
    const ScopeId above = parent ? *parent : body_->scope_tree.guess_parent(name.path);
    const ScopeId id = graph.add_scope(Scope{name.path, name.call, above});
    it->second = id;
    body_->scope_tree.add(name.path, id);
    return id;
  }

  // --- graphs ----------------------------------------------------------------------------------
  // The word `graph` stands at pos_. Leaves body_ pointing at its own: the caller sets it back.
  Graph parse_graph(int depth) {
    if (depth > kMaxGraphDepth)
      throw_at(pos_, "graphs nest more than " + std::to_string(kMaxGraphDepth) + " deep here");
    pos_ += std::string_view("graph").size();
    Body body;
    body_ = &body;
    body.graph.name = parse_path("the name of the graph");
    expect('{');
    bool in_nodes = false;
    for (;;) {
      skip_lines();
      if (accept('}')) return std::move(body.graph);
      if (peek() == '%') {
        in_nodes = true;
        parse_node();
        expect_line_end();
        continue;
      }
      const std::size_t start = pos_;
      const std::string_view word = peek_word();
      pos_ += word.size();
      if (word == "output") {
        in_nodes = true;
        parse_output();
      } else if (in_nodes) {
        fail_at(start, "a node, 'output' or '}'");
      } else if (word == "module") {
        parse_module(depth);
      } else if (word == "parameter") {
        parse_tensor(TensorKind::parameter);
      } else if (word == "buffer") {
        parse_tensor(TensorKind::buffer);
      } else if (word == "constant") {
        parse_tensor(TensorKind::constant);
      } else if (word == "taken") {
        body.graph.modules.add_taken(parse_declared_path());
      } else {
        fail_at(start, "a node, 'output', 'module', 'parameter', 'buffer', 'constant', 'taken' or '}'");
      }
      expect_line_end();
    }
  }

  Body* body_ = nullptr;
};

}  // namespace

Graph parse(std::string_view text) { return Parser(text).parse_text(); }

}  // namespace modulize
