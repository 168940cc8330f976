#include "ops/op_match.h"

#include <algorithm>
#include <unordered_map>

#include "ops/target.h"
#include "support/error.h"

namespace modulize {

namespace {

constexpr std::string_view kTensor = "torch.Tensor.";
constexpr std::string_view kAten = "torch.ops.aten.";

[[noreturn]] void fail(const OpRow& row, const std::string& what) {
  throw Error(ErrorCode::ModulizeError, "op table: row '" + std::string(row.call) + "': " + what);
}

std::size_t parameter_index(const Op& op, std::string_view name) {
  const auto index = op.find_parameter(name);
  if (!index) fail(*op.row, "no parameter '" + std::string(name) + "'");
  return *index;
}

}  // namespace

CtorArgument parse_ctor_argument(const Op& op, std::string_view text) {
  CtorArgument out;
  const std::size_t bar = text.find('|');
  if (bar != std::string_view::npos) {
    const std::string_view otherwise = text.substr(bar + 1);
    if (otherwise.starts_with("has("))
      out.default_presence = parameter_index(op, otherwise.substr(4, otherwise.size() - 5));
    else
      out.default_value = parse_literal(otherwise);
    text = trim(text.substr(0, bar));
  }
  const std::size_t equals = text.find('=');
  std::string_view from = equals == std::string_view::npos ? text : trim(text.substr(equals + 1));
  out.name = trim(text.substr(0, equals));
  if (from.starts_with("has(")) {
    out.from = CtorArgument::From::presence;
    out.parameter = parameter_index(op, from.substr(4, from.size() - 5));
    return out;
  }
  const std::size_t star = from.find('*');
  if (star != std::string_view::npos) {
    out.factor = parameter_index(op, from.substr(star + 1));
    from = from.substr(0, star);
  }
  const std::size_t shape = from.find(".shape[");
  if (shape != std::string_view::npos) {
    std::string_view index = from.substr(shape + 7, from.size() - shape - 8);
    out.from = CtorArgument::From::dimension;
    if (index.ends_with(":")) {
      out.from = CtorArgument::From::dimensions;
      index.remove_suffix(1);
    }
    out.dimension = static_cast<std::size_t>(parse_literal(index).as_integer());
    from = from.substr(0, shape);
  }
  out.parameter = parameter_index(op, from);
  if (out.from == CtorArgument::From::parameter && !out.default_value && op.parameters[out.parameter].has_default)
    out.default_value = op.parameters[out.parameter].default_value;
  return out;
}

namespace {

Op parse_row(const OpRow& row) {
  Op op;
  op.row = &row;
  op.call = qualified_call(row.call);
  op.base = row.base.empty() ? op.call.substr(op.call.rfind('.') + 1) : std::string(row.base);
  op.parameters = parse_signature(row.signature);
  op.is_layer = row.module.starts_with("torch.nn.");
  if (!row.dynamic.empty())
    op.run_time_class = row.dynamic;
  else if (op.is_layer)
    op.run_time_class = "modulize.nn.Dynamic" + std::string(row.module.substr(row.module.rfind('.') + 1));
  else
    op.run_time_class = row.module;
  for (const auto item : split_list(row.ctor)) op.ctor.push_back(parse_ctor_argument(op, item));
  for (const auto item : split_list(row.adopt)) {
    const std::size_t mark = item.find('?');
    Adoption adoption{.parameter = parameter_index(op, item.substr(0, mark))};
    if (mark != std::string_view::npos) {
      adoption.optional = true;
      if (mark + 1 < item.size()) adoption.only_with = parameter_index(op, item.substr(mark + 1));
    }
    op.adopts.push_back(adoption);
  }
  for (const auto item : split_list(row.only)) {
    const std::size_t equals = item.find('=');
    op.only.push_back({parameter_index(op, item.substr(0, equals)), parse_literal(item.substr(equals + 1))});
  }
  for (const auto item : split_list(row.ignore)) op.ignored.push_back(parameter_index(op, item));
  if (!row.mode.empty()) op.mode = parameter_index(op, row.mode);
  op.inplace = op.find_parameter("inplace");
  return op;
}

OpSpelling parse_spelling(const Op& op, std::string_view text, bool writes_first) {
  OpSpelling out;
  out.op = &op;
  out.writes_first = writes_first;
  const std::size_t open = text.find('('), fixed = text.find('[');
  out.call = qualified_call(text.substr(0, std::min(open, fixed)));
  out.is_operator = out.call.starts_with("operator.") || out.call.starts_with("builtins.");
  if (open != std::string_view::npos) {
    out.parameters = parse_signature(text.substr(open + 1, text.find(')') - open - 1));
    for (Parameter& p : out.parameters) {
      const std::size_t colon = p.name.find(':');
      out.positions.push_back(parameter_index(op, p.name.substr(colon == std::string::npos ? 0 : colon + 1)));
      if (colon != std::string::npos) p.name.erase(colon);
    }
  } else {
    for (std::size_t i = 0; i < op.parameters.size(); ++i) {
      // An operator has operands, no options.
      if (out.is_operator && op.parameters[i].kind != Parameter::Kind::normal) continue;
      out.parameters.push_back(op.parameters[i]);
      out.positions.push_back(i);
    }
  }
  if (fixed != std::string_view::npos) {
    for (const auto item : split_list(text.substr(fixed + 1, text.size() - fixed - 2))) {
      const std::size_t equals = item.find('=');
      out.fixed.push_back({parameter_index(op, item.substr(0, equals)), parse_literal(item.substr(equals + 1))});
    }
  }
  return out;
}

// The calls that "torch.ops.aten.mul.Tensor" may be one with, best first: torch's own bindings take an operator's
// arguments in its order. Those few that Python defines anew, with other arguments, are left out; of
// torch.nn.functional only those are named that take no others than the operator.
std::vector<std::string> calls_of_aten(std::string_view target) {
  static constexpr std::string_view kOthers[] = {"stft", "cdist", "tensordot", "norm_except_dim", "lu", "unique"};
  static constexpr std::string_view kFunctional[] = {"adaptive_avg_pool2d",
                                                     "adaptive_avg_pool3d",
                                                     "avg_pool2d",
                                                     "avg_pool3d",
                                                     "gelu",
                                                     "glu",
                                                     "hardsigmoid",
                                                     "hardswish",
                                                     "hardtanh",
                                                     "leaky_relu",
                                                     "leaky_relu_",
                                                     "linear",
                                                     "mish",
                                                     "one_hot",
                                                     "pad",
                                                     "relu6",
                                                     "scaled_dot_product_attention",
                                                     "silu",
                                                     "softplus",
                                                     "softshrink"};
  std::string_view name = target.substr(kAten.size());
  name = name.substr(0, name.find('.'));
  if (std::find(std::begin(kOthers), std::end(kOthers), name) != std::end(kOthers)) return {};
  const auto within = [&](std::string_view space, std::string_view prefix) {
    return std::string(space) += name.substr(prefix.size());
  };
  if (name.starts_with("special_")) return {within("torch.special.", "special_")};
  if (name.starts_with("linalg_")) return {within("torch.linalg.", "linalg_")};
  if (name.starts_with("fft_")) return {within("torch.fft.", "fft_")};
  std::vector<std::string> out = {within("torch.", ""), within(kTensor, "")};
  if (std::find(std::begin(kFunctional), std::end(kFunctional), name) != std::end(kFunctional))
    out.push_back(within("torch.nn.functional.", ""));
  return out;
}

// The table with its texts parsed, and the ways in.
class Index {
 public:
  Index() {
    ops_.reserve(op_rows().size());
    for (const OpRow& row : op_rows()) ops_.push_back(parse_row(row));
    for (const Op& op : ops_) {
      spellings_.push_back(parse_spelling(op, op.row->call, false));
      for (const auto item : split_list(op.row->also)) spellings_.push_back(parse_spelling(op, item, false));
      for (const auto item : split_list(op.row->inplace)) spellings_.push_back(parse_spelling(op, item, true));
    }
    for (const OpSpelling& s : spellings_) {
      const bool layout = s.op->row->layout;
      if (!(layout ? layout_by_call_ : by_call_).emplace(s.call, &s).second)
        fail(*s.op->row, "a second owner of '" + s.call + "'");
      if (s.call.starts_with(kTensor))
        (layout ? layout_by_method_ : by_method_).emplace(std::string_view(s.call).substr(kTensor.size()), &s);
    }
    passive_names_.reserve(passive_rows().size());
    for (const PassiveRow& row : passive_rows()) {
      passive_names_.push_back(qualified_call(row.call));
      const std::string_view call = passive_names_.back();
      if (by_call_.count(call) || !passive_by_call_.emplace(call, &row).second)
        throw Error(ErrorCode::ModulizeError, "op table: a second owner of '" + std::string(call) + "'");
      if (call.starts_with(kTensor)) passive_by_method_.emplace(call.substr(kTensor.size()), &row);
    }
    for (const Op& op : ops_) {
      by_module_.emplace(op.row->module, &op);
      by_module_.emplace(op.run_time_class, &op);
    }
  }

  template <class Row>
  using Map = std::unordered_map<std::string_view, const Row*>;

  template <class Row>
  static const Row* look_up(const Node& node, const Map<Row>& by_call, const Map<Row>& by_method) {
    if (node.op == Opcode::call_method) {
      const auto it = by_method.find(node.target);
      return it == by_method.end() ? nullptr : it->second;
    }
    if (node.op != Opcode::call_function || node.target.empty()) return nullptr;
    auto it = by_call.find(node.target);
    if (it != by_call.end()) return it->second;
    // Private homes of public functions are the exception: only they pay for the longer way.
    if (node.target.starts_with(kAten)) {
      for (const std::string& call : calls_of_aten(node.target)) {
        it = by_call.find(call);
        if (it != by_call.end()) return it->second;
      }
      return nullptr;
    }
    it = by_call.find(canonical_call(node.target));
    return it == by_call.end() ? nullptr : it->second;
  }

  const OpSpelling* spelling(const Node& node) const { return look_up(node, by_call_, by_method_); }
  const OpSpelling* layout(const Node& node) const { return look_up(node, layout_by_call_, layout_by_method_); }
  const PassiveRow* passive(const Node& node) const { return look_up(node, passive_by_call_, passive_by_method_); }
  const Op* of_module(std::string_view type) const {
    const auto it = by_module_.find(type);
    return it == by_module_.end() ? nullptr : it->second;
  }
  const std::vector<Op>& ops() const { return ops_; }
  const std::vector<OpSpelling>& spellings() const { return spellings_; }

 private:
  std::vector<Op> ops_;
  std::vector<OpSpelling> spellings_;
  std::vector<std::string> passive_names_;
  Map<OpSpelling> by_call_, by_method_, layout_by_call_, layout_by_method_;
  Map<PassiveRow> passive_by_call_, passive_by_method_;
  Map<Op> by_module_;
};

const Index& index() {
  static const Index instance;
  return instance;
}

// A row made at run time, with the texts that it refers to.
struct RegisteredOp {
  std::string call, type, base;
  OpRow row;
  Op op;
  OpSpelling spelling;
};

// By call. What is replaced lives on: graphs may refer to it.
std::unordered_map<std::string_view, const RegisteredOp*>& registered_ops() {
  static std::unordered_map<std::string_view, const RegisteredOp*> ops;
  return ops;
}

const OpSpelling* find_registered(const Node& node) {
  const auto& ops = registered_ops();
  if (ops.empty() || node.op != Opcode::call_function) return nullptr;
  std::string_view call = node.target;
  auto it = ops.find(call);
  // "torch.ops.mylib.scale.default" is a call of torch.ops.mylib.scale.
  constexpr std::string_view kOperators = "torch.ops.";
  if (it == ops.end() && call.starts_with(kOperators)) it = ops.find(call.substr(0, call.rfind('.')));
  return it == ops.end() ? nullptr : &it->second->spelling;
}

// torch's argument parser takes numpy's names as well (torch/csrc/utils/python_arg_parser.cpp); operators of torch.ops
// call the first argument `self`.
bool is_synonym(std::string_view keyword, std::string_view parameter) {
  if (parameter == "dim") return keyword == "axis";
  if (parameter == "keepdim") return keyword == "keepdims";
  if (parameter == "input") return keyword == "self" || keyword == "x" || keyword == "a" || keyword == "x1";
  if (parameter == "other") return keyword == "x2";
  return false;
}

}  // namespace

std::optional<std::size_t> Op::find_parameter(std::string_view name) const {
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (parameters[i].name == name) return i;
  return std::nullopt;
}

bool Op::is_ignored(std::size_t parameter) const {
  return std::find(ignored.begin(), ignored.end(), parameter) != ignored.end();
}

std::string canonical_call(std::string_view target) {
  static constexpr std::pair<std::string_view, std::string_view> kHomes[] = {
      {"torch._C._nn.", "torch.nn.functional."},
      {"torch._C._VariableFunctions.", "torch."},
      {"torch._C._VariableFunctionsClass.", "torch."},
      {"torch._C.TensorBase.", kTensor},
      {"torch._C._TensorBase.", kTensor},
      {"torch._tensor.Tensor.", kTensor},
      {"torch.functional.", "torch."},
      {"torch._C._special.special_", "torch.special."},
      {"torch._C._linalg.linalg_", "torch.linalg."},
      {"torch._C._fft.fft_", "torch.fft."},
      {"_operator.", "operator."},
  };
  for (const auto& [home, name] : kHomes)
    if (target.starts_with(home)) return std::string(name) += target.substr(home.size());
  return std::string(target);
}

std::string qualified_call(std::string_view call) {
  if (call.starts_with("F.")) return "torch.nn.functional." + std::string(call.substr(2));
  if (call.starts_with("Tensor.")) return "torch." + std::string(call);
  if (call.starts_with("op.")) return "operator." + std::string(call.substr(3));
  return std::string(call);
}

const OpSpelling* find_op(const Node& node) {
  const OpSpelling* spelling = index().spelling(node);
  return spelling ? spelling : find_registered(node);
}
const OpSpelling* find_layout_op(const Node& node) { return index().layout(node); }

void register_op(std::string call, std::string type, std::string base) {
  auto* made = new RegisteredOp{.call = std::move(call), .type = std::move(type), .base = std::move(base)};
  OpRow& row = made->row;
  row.call = made->call;
  row.module = made->type;
  row.signature = "*args, **kwargs";
  row.base = made->base;
  row.result = ValueType::unknown;
  row.effect = true;
  row.may_alias = true;
  made->op = parse_row(row);
  made->op.is_layer = false;
  made->op.is_registered = true;
  made->op.run_time_class = made->type;
  made->spelling = parse_spelling(made->op, row.call, false);
  auto& ops = registered_ops();
  ops.erase(made->call);  // the key is the text of the op before
  ops.emplace(made->call, made);
}

const PassiveRow* find_passive(const Node& node) { return index().passive(node); }
const Op* find_op_of_module(std::string_view type) {
  const Op* op = index().of_module(type);
  return op ? op : op_of_target_class(type);
}
const Op* find_op_of_call(std::string_view call) {
  const std::string qualified = qualified_call(call);
  for (const OpSpelling& spelling : all_spellings())
    if (spelling.call == qualified) return spelling.op;
  return nullptr;
}
const std::vector<Op>& all_ops() { return index().ops(); }
const std::vector<OpSpelling>& all_spellings() { return index().spellings(); }

std::optional<BoundArguments> bind_arguments(const OpSpelling& spelling, const Node& node) {
  const Op& op = *spelling.op;
  BoundArguments out;
  out.values.resize(op.parameters.size());
  out.given.resize(op.parameters.size(), false);
  const auto give = [&](std::size_t i, const Value& value) {
    if (out.given[i]) return false;
    out.values[i] = value;
    out.given[i] = true;
    return true;
  };

  const auto& parameters = spelling.parameters;
  std::size_t next = 0;
  for (const Value& arg : node.args) {
    if (next == parameters.size()) return std::nullopt;
    const Parameter& p = parameters[next];
    if (p.kind == Parameter::Kind::var_positional) {
      out.var_args.push_back(arg);
      continue;
    }
    if (p.kind != Parameter::Kind::normal) return std::nullopt;
    give(spelling.positions[next++], arg);
  }
  for (const auto& [key, value] : node.kwargs) {
    std::optional<std::size_t> exact, synonym;
    bool rest = false;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      if (p.kind == Parameter::Kind::var_keyword) {
        rest = true;
      } else if (p.kind != Parameter::Kind::var_positional) {
        if (p.name == key) exact = spelling.positions[i];
        if (is_synonym(key, p.name)) synonym = spelling.positions[i];
      }
    }
    if (!exact) exact = synonym;
    if (exact) {
      if (!give(*exact, value)) return std::nullopt;
    } else if (rest && (key != "out" || op.is_registered)) {
      out.var_kwargs.emplace_back(key, value);
    } else {
      return std::nullopt;
    }
  }
  for (const ParameterValue& f : spelling.fixed)
    if (!give(f.parameter, f.value)) return std::nullopt;
  // The spelling's own defaults stand before the op's.
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::size_t at = spelling.positions[i];
    if (!out.given[at] && parameters[i].has_default)
      out.values[at] = parameters[i].default_value;
    else if (!out.given[at] &&
             (parameters[i].kind == Parameter::Kind::normal || parameters[i].kind == Parameter::Kind::keyword_only))
      return std::nullopt;
  }
  for (std::size_t i = 0; i < op.parameters.size(); ++i) {
    const Parameter& p = op.parameters[i];
    if (out.given[i] || std::find(spelling.positions.begin(), spelling.positions.end(), i) != spelling.positions.end())
      continue;
    if (p.has_default)
      out.values[i] = p.default_value;
    else if (p.kind == Parameter::Kind::normal || p.kind == Parameter::Kind::keyword_only)
      return std::nullopt;
  }
  return out;
}

}  // namespace modulize
