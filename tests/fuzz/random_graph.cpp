#include "random_graph.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ops/op_match.h"

namespace modulize::fuzz {

namespace {

constexpr std::string_view kPaths[] = {
    "conv",          "relu",        "layer1.0",
    "layer1.0.act",  "layer1.1",    "module_relu",
    "module_relu_1", "module_add",  "layer1.0.module_add",
    "a.b.c.d",       "0",           "fc",
    "self",          "forward",     "graph",
    "odd name",      "\xc3\xa9",    "layer1.class",
    "x\ny",          "module_conv", "module_conv_1",
    "torch",         "_object_0",   "a..b",
};
constexpr std::string_view kTensorPaths[] = {
    "weight",      "bias",    "fc.weight",  "layer1.0.scale",    "running_mean",
    "running_var", "graph_w", "odd name.w", "_tensor_constant0", "layer1.0.mask"};
constexpr std::string_view kDtypes[] = {"float32", "int64", "bool", "bfloat16", "odd type"};
constexpr std::string_view kUserClasses[] = {"torch.nn.Conv2d",      "torch.nn.ReLU", "torch.nn.Dropout",
                                             "torch.nn.BatchNorm2d", "user.Block",    "user.Outer.Inner"};
constexpr std::string_view kUserFunctions[] = {"user.f",
                                               "operator.getitem",
                                               "operator.setitem",
                                               "builtins.getattr",
                                               "builtins.setattr",
                                               "builtins.len",
                                               "math.floor",
                                               "modulize._runtime.check",
                                               "torch.ops.user.op_",
                                               "torch._C._nn.linear",
                                               "torch.add_",
                                               "odd.class.f",
                                               "forward",
                                               "print"};
constexpr std::string_view kUserMethods[] = {"frobnicate", "size", "copy_", "__call__", "class", "odd method", "view"};
constexpr std::string_view kNames[] = {"x",   "relu",  "add",     "self",    "forward",   "class",
                                       "len", "torch", "modules", "getattr", "_object_0", "_forward_1",
                                       "__x", "input", "print",   "None"};
constexpr std::string_view kParameters[] = {"x", "y", "mask", "input", "torch", "operator", "len", "getattr", "float"};
constexpr std::string_view kKeywords[] = {"dim", "input", "other", "alpha", "inplace",     "training",
                                          "out", "class", "axis",  "dtype", "odd keyword", "rounding_mode"};
constexpr std::string_view kTexts[] = {"", "none", "mean", "floor", "two\nlines", "it's \"quoted\"", "\xc3\xa9\\"};
constexpr std::string_view kQualified[] = {"torch.float32", "torch.strided", "builtins.len", "user.Outer.Inner",
                                           "print"};
constexpr std::string_view kFiles[] = {"net.py", "odd \"file\".py", "/a/b/net.py"};
constexpr std::int64_t kIntegers[] = {
    0, 1, -1, 2, 3, 1000000, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()};
constexpr double kFloats[] = {0.0,
                              -0.0,
                              0.5,
                              1e-5,
                              1e300,
                              0.1,
                              std::numeric_limits<double>::infinity(),
                              -std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN()};

constexpr std::size_t kMaxNodes = 200;
constexpr int kMaxScopeDepth = 4, kMaxGraphDepth = 2;

class Builder {
 public:
  Builder(const Choices& choices, int depth) : choices_(choices), depth_(depth) {}

  Graph run() {
    graph_.name = depth_ == 0 ? "net" : "inner";
    Choices last = choices_.take(12);
    declare_all();
    add_placeholders();
    block(kRootScope, 0);
    choices_ = last;
    Node output;
    output.op = Opcode::output;
    output.type = any_type();
    output.args.push_back(value(0));
    graph_.add(std::move(output));
    drop_some();
    return std::move(graph_);
  }

 private:
  // --- what the model holds ---------------------------------------------------------------------
  void declare_all() {
    const std::size_t modules = choices_.below(6), tensors = choices_.below(5), taken = choices_.below(3);
    for (std::size_t i = 0; i < tensors; ++i) declare_tensor(std::string(choices_.pick(kTensorPaths)));
    for (std::size_t i = 0; i < modules; ++i) declare_module(std::string(choices_.pick(kPaths)));
    for (std::size_t i = 0; i < taken; ++i) {
      const std::string path(choices_.pick(kPaths));
      if (!graph_.modules.is_taken(path)) graph_.modules.add_taken(path);
    }
  }

  void declare_tensor(std::string path) {
    if (graph_.modules.is_taken(path)) return;
    TensorSpec spec;
    spec.path = std::move(path);
    spec.kind = static_cast<TensorKind>(choices_.below(3));
    spec.dtype = choices_.pick(kDtypes);
    for (std::size_t i = choices_.below(6); i > 0; --i)
      spec.shape.push_back(choices_.one_in(8) ? choices_.pick(kIntegers)
                                              : static_cast<std::int64_t>(choices_.below(5)));
    graph_.modules.add_tensor(std::move(spec));
  }

  void declare_module(std::string path) {
    ModuleTree& tree = graph_.modules;
    if (tree.is_taken(path)) return;
    ModuleSpec spec;
    spec.path = std::move(path);
    spec.training = choices_.one_in(2);
    if (choices_.one_in(6)) spec.base = choices_.pick(kNames);
    if (!tree.tensors().empty() && choices_.one_in(6))
      spec.adopts.emplace_back(choices_.pick(kKeywords), choices_.pick(tree.tensors()).path);
    switch (choices_.below(6)) {
      case 0:
      case 1:
        spec.type = choices_.pick(kUserClasses);
        break;
      case 2:
        spec.type = choices_.pick(all_ops()).row->module;
        break;
      case 3:
        spec.kind = ModuleKind::constructed;
        spec.type = choices_.one_in(2) ? std::string(choices_.pick(kUserClasses))
                                       : std::string(choices_.pick(all_ops()).row->module);
        for (std::size_t i = choices_.below(3); i > 0; --i) spec.args.push_back(constant(0));
        if (choices_.one_in(2)) spec.kwargs.emplace_back(choices_.pick(kKeywords), constant(0));
        break;
      case 4: {
        std::vector<std::string> originals;
        for (const ModuleSpec& other : tree.modules())
          if (other.kind != ModuleKind::copy) originals.push_back(other.path);
        if (originals.empty()) return;
        spec.kind = ModuleKind::copy;
        spec.copy_of = choices_.pick(originals);
        break;
      }
      default: {
        if (depth_ >= kMaxGraphDepth) return;
        spec.kind = ModuleKind::graph;
        // A part of the bytes, so that something is left for this graph.
        const std::size_t part = 40 + choices_.below(100);
        spec.graph = std::make_shared<const Graph>(Builder(choices_.take(part), depth_ + 1).run());
      }
    }
    tree.add(std::move(spec));
  }

  // --- values -----------------------------------------------------------------------------------
  ValueType any_type() {
    // Mostly what the passes ask for.
    static constexpr ValueType kTypes[] = {ValueType::tensor, ValueType::tensor, ValueType::tensor, ValueType::unknown,
                                           ValueType::number, ValueType::size,   ValueType::other};
    return choices_.pick(kTypes);
  }

  NodeId any_node() {
    // The latest are used most, as in real programs.
    const std::size_t back =
        choices_.one_in(3) ? choices_.below(nodes_.size()) : choices_.below(std::min<std::size_t>(nodes_.size(), 3));
    return nodes_[nodes_.size() - 1 - back];
  }

  Value leaf() {
    switch (choices_.below(9)) {
      case 0:
        return Value::none();
      case 1:
        return Value::boolean(choices_.one_in(2));
      case 2:
        return Value::integer(choices_.pick(kIntegers));
      case 3:
        return Value::floating(choices_.pick(kFloats));
      case 4:
        return Value::string(std::string(choices_.pick(kTexts)));
      case 5:
        return Value::name(std::string(choices_.pick(kQualified)));
      case 6:
        return Value::ellipsis();
      case 7:
        return object();
      default:
        return Value::integer(static_cast<std::int64_t>(choices_.below(4)));
    }
  }

  Value object() {
    static constexpr std::string_view kLabels[] = {"<function f>", "", "<odd \"label\">"};
    const std::size_t id = choices_.below(3);
    return Value::object(static_cast<ObjectId>(id), std::string(kLabels[id]));
  }

  template <class Leaf>
  Value nested(int depth, Leaf&& leaf) {
    const std::size_t kind = depth >= 4 ? 0 : choices_.below(10);
    if (kind < 6) return leaf();
    const auto item = [&] { return nested(depth + 1, leaf); };
    if (kind == 9) {
      Value start = item(), stop = item();
      return Value::slice(std::move(start), std::move(stop), item());
    }
    const std::size_t count = choices_.below(4);
    if (kind == 8) {
      ValueDict items;
      for (std::size_t i = 0; i < count; ++i) {
        Value key = choices_.one_in(4) ? item() : Value::string(std::string(choices_.pick(kKeywords)));
        items.emplace_back(std::move(key), item());
      }
      return Value::dict(std::move(items));
    }
    ValueList items;
    for (std::size_t i = 0; i < count; ++i) items.push_back(item());
    return kind == 6 ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }

  Value constant(int depth) {
    return nested(depth, [&] { return leaf(); });
  }

  Value value(int depth) {
    return nested(depth, [&] { return nodes_.empty() || choices_.one_in(3) ? leaf() : Value::node(any_node()); });
  }

  // An argument for a parameter of the table: mostly what the row expects there.
  Value argument(const Parameter& parameter) {
    const std::size_t choice = choices_.below(8);
    if (choice == 7) return value(0);
    if (parameter.has_default && choice < 4) {
      if (choice == 0) return parameter.default_value;
      if (parameter.default_value.is(ValueKind::boolean)) return Value::boolean(choices_.one_in(2));
      return leaf();
    }
    if (nodes_.empty()) return leaf();
    if (parameter.name == "tensors" || choice == 6) {
      ValueList items;
      for (std::size_t i = choices_.below(4); i > 0; --i) items.push_back(Value::node(any_node()));
      return choices_.one_in(2) ? Value::tuple(std::move(items)) : Value::list(std::move(items));
    }
    return Value::node(any_node());
  }

  // --- nodes ------------------------------------------------------------------------------------
  void add_placeholders() {
    const std::size_t wanted = 1 + choices_.below(4);
    static constexpr ParameterKind kKinds[] = {ParameterKind::positional_or_keyword, ParameterKind::positional_only,
                                               ParameterKind::keyword_only, ParameterKind::var_positional,
                                               ParameterKind::var_keyword};
    std::vector<ParameterKind> kinds;
    for (std::size_t i = 0; i < wanted; ++i) {
      const ParameterKind kind = choices_.one_in(2) ? choices_.pick(kKinds) : ParameterKind::positional_or_keyword;
      const bool starred = kind == ParameterKind::var_positional || kind == ParameterKind::var_keyword;
      if (starred && std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) continue;
      kinds.push_back(kind);
    }
    std::sort(kinds.begin(), kinds.end());
    bool default_seen = false;
    std::size_t name = choices_.below(std::size(kParameters));
    for (const ParameterKind kind : kinds) {
      Node node;
      node.op = Opcode::placeholder;
      node.type = any_type();
      node.target = kParameters[name++ % std::size(kParameters)];
      const bool starred = kind == ParameterKind::var_positional || kind == ParameterKind::var_keyword;
      const bool must = default_seen && kind <= ParameterKind::positional_or_keyword;
      if (!starred && (must || choices_.one_in(3))) {
        node.args.push_back(constant(0));
        default_seen |= kind <= ParameterKind::positional_or_keyword;
      }
      if (kind == ParameterKind::var_positional) node.target.insert(0, "*");
      if (kind == ParameterKind::var_keyword) node.target.insert(0, "**");
      if (choices_.one_in(4)) node.name = choices_.pick(kNames);
      graph_.parameter_kinds.push_back(kind);
      nodes_.push_back(graph_.add(std::move(node)));
    }
  }

  // A stretch of one scope: nodes, and calls of modules that are traced through.
  void block(ScopeId scope, int depth) {
    const std::size_t length = 1 + choices_.below(depth == 0 ? 40 : 8);
    for (std::size_t i = 0; i < length && !choices_.at_end() && graph_.size() < kMaxNodes; ++i) {
      if (depth < kMaxScopeDepth && choices_.one_in(6)) {
        block(enter(scope), depth + 1);
        continue;
      }
      Node node;
      node.scope = scope;
      node.type = any_type();
      if (choices_.one_in(3))
        node.source = graph_.add_source(choices_.pick(kFiles), static_cast<int>(choices_.below(90)));
      if (choices_.one_in(4)) node.name = choices_.pick(kNames);
      if (fill(node)) nodes_.push_back(graph_.add(std::move(node)));
    }
  }

  ScopeId enter(ScopeId parent) {
    const std::string path(choices_.pick(kPaths));
    // Mostly in the order of the calls; a graph read from a text may have other numbers.
    std::uint32_t& next = calls_[path];
    if (choices_.one_in(8)) next += static_cast<std::uint32_t>(choices_.below(3));
    return graph_.add_scope(Scope{path, next++, parent});
  }

  bool fill(Node& node) {
    switch (choices_.below(12)) {
      case 0:
        return fill_get_attr(node);
      case 1:
      case 2:
        return fill_module(node);
      case 3:
        return fill_passive(node);
      case 4:
        return fill_unknown(node);
      default:
        return fill_op(node);
    }
  }

  bool fill_get_attr(Node& node) {
    node.op = Opcode::get_attr;
    const auto& tensors = graph_.modules.tensors();
    if (tensors.empty() || choices_.one_in(3)) {
      const std::string& path = graph_.scope(node.scope).path;
      node.target = path.empty() ? "training" : path + ".training";
      node.type = ValueType::number;
    } else {
      node.target = choices_.pick(tensors).path;
    }
    return true;
  }

  bool fill_module(Node& node) {
    const auto& modules = graph_.modules.modules();
    if (modules.empty()) return false;
    const ModuleSpec& spec = choices_.pick(modules);
    node.op = Opcode::call_module;
    node.target = spec.path;
    if (spec.kind == ModuleKind::graph) {
      bind_graph(node, *spec.graph);
    } else {
      for (std::size_t i = choices_.below(3); i > 0; --i) node.args.push_back(value(0));
      add_keywords(node);
    }
    return true;
  }

  void bind_graph(Node& node, const Graph& callee) {
    std::size_t at = 0;
    bool positional = true;
    for (const NodeId id : callee.order()) {
      const Node& parameter = callee[id];
      if (parameter.op != Opcode::placeholder) break;
      const ParameterKind kind = callee.parameter_kinds[at++];
      const bool optional = !parameter.args.empty();
      if (kind == ParameterKind::var_positional) {
        if (positional && choices_.one_in(2)) node.args.push_back(value(0));
      } else if (kind == ParameterKind::var_keyword) {
        if (choices_.one_in(2)) node.kwargs.emplace_back("odd keyword", value(0));
      } else if (optional && choices_.one_in(2)) {
        positional = false;
      } else if (kind == ParameterKind::keyword_only ||
                 (kind == ParameterKind::positional_or_keyword && (!positional || choices_.one_in(3)))) {
        positional = false;
        node.kwargs.emplace_back(parameter.target, value(0));
      } else if (positional) {
        node.args.push_back(value(0));
      }
    }
  }

  void set_call(Node& node, std::string_view call) {
    constexpr std::string_view kTensor = "torch.Tensor.";
    if (call.starts_with(kTensor) && !choices_.one_in(16)) {
      node.op = Opcode::call_method;
      node.target = call.substr(kTensor.size());
    } else {
      node.op = Opcode::call_function;
      node.target = call;
    }
  }

  void add_keywords(Node& node) {
    for (std::size_t i = choices_.one_in(4) ? 1 + choices_.below(2) : 0; i > 0; --i) {
      const std::string key(choices_.pick(kKeywords));
      if (!node.find_kwarg(key)) node.kwargs.emplace_back(key, value(0));
    }
  }

  // A method has its object in front.
  bool is_whole(const Node& node) { return node.op != Opcode::call_method || !node.args.empty(); }

  bool fill_op(Node& node) {
    const OpSpelling& spelling = choices_.pick(all_spellings());
    set_call(node, spelling.call);
    bool positional = true;
    for (const Parameter& parameter : spelling.parameters) {
      if (parameter.kind == Parameter::Kind::var_positional) {
        for (std::size_t i = positional ? choices_.below(3) : 0; i > 0; --i) node.args.push_back(value(0));
        positional = false;
      } else if (parameter.kind == Parameter::Kind::var_keyword) {
        add_keywords(node);
      } else if (parameter.has_default && choices_.below(3) == 0) {
        positional = false;
      } else if (positional && parameter.kind == Parameter::Kind::normal && !choices_.one_in(5)) {
        node.args.push_back(argument(parameter));
      } else {
        positional = false;
        node.kwargs.emplace_back(parameter.name, argument(parameter));
      }
    }
    if (choices_.one_in(24) && !node.args.empty()) node.args.pop_back();
    if (choices_.one_in(24)) node.args.push_back(value(0));
    if (choices_.one_in(24)) {
      const std::string key(choices_.pick(kKeywords));
      if (!node.find_kwarg(key)) node.kwargs.emplace_back(key, value(0));
    }
    return is_whole(node);
  }

  bool fill_passive(Node& node) {
    const PassiveRow& row = choices_.pick(passive_rows());
    set_call(node, qualified_call(row.call));
    if (!nodes_.empty()) node.args.push_back(Value::node(any_node()));
    for (std::size_t i = choices_.below(3); i > 0; --i) node.args.push_back(value(0));
    add_keywords(node);
    return is_whole(node);
  }

  bool fill_unknown(Node& node) {
    switch (choices_.below(3)) {
      case 0:
        node.op = Opcode::call_method;
        node.target = choices_.pick(kUserMethods);
        break;
      case 1:
        node.callee = object();
        break;
      default:
        node.target = choices_.pick(kUserFunctions);
    }
    for (std::size_t i = 1 + choices_.below(3); i > 0; --i) node.args.push_back(value(0));
    add_keywords(node);
    return true;
  }

  // Gaps among the ids, as passes leave them.
  void drop_some() {
    const std::vector<std::uint32_t> uses = use_counts(graph_);
    for (const NodeId id : nodes_)
      if (uses[id] == 0 && graph_[id].op != Opcode::placeholder && choices_.one_in(8)) graph_.erase(id);
  }

  Choices choices_;
  const int depth_;
  Graph graph_;
  std::vector<NodeId> nodes_;
  std::map<std::string, std::uint32_t> calls_;
};

}  // namespace

Graph random_graph(const Choices& choices) { return Builder(choices, 0).run(); }

}  // namespace modulize::fuzz
