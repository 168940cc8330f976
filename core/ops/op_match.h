// Finds the row of a call and binds the call's arguments to the row's parameters.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/op_table.h"
#include "ops/signature.h"

namespace modulize {

/// One constructor argument of a torch.nn module, from a row's `ctor`:
///   negative_slope                        the parameter of that name, left out where it equals the call's default
///   inplace=inplace|False                 the same under another name or default
///   kernel_size=weight.shape[2:]          from the shape of an adopted tensor
///   in_channels=weight.shape[1]*groups    times an integer parameter
///   bias=has(bias)|True                   whether a tensor is given; left out where it equals the text after `|`
///   bias=has(bias)|has(weight)            the same; left out where the other is given or missing alike
struct CtorArgument {
  enum class From : std::uint8_t { parameter, dimension, dimensions, presence };
  std::string name;
  From from = From::parameter;
  std::size_t parameter = 0;  // index into Op::parameters
  std::size_t dimension = 0;  // the index in shape[i], shape[i:]
  std::optional<std::size_t> factor;
  std::optional<Value> default_value;
  std::optional<std::size_t> default_presence;  // `|has(weight)`: left out where the other's presence is the same
};

/// A tensor that the module may hold instead of taking it, from a row's `adopt`.
struct Adoption {
  std::size_t parameter;
  bool optional = false;                 // `bias?`: may be None
  std::optional<std::size_t> only_with;  // `bias?weight`: given only together with that one
};

struct ParameterValue {
  std::size_t parameter;
  Value value;
};

/// A row with its texts parsed. Lives as long as the program.
struct Op {
  const OpRow* row = nullptr;
  std::string call;  // qualified: "torch.nn.functional.relu"
  std::string base;
  /// Qualified name of the run-time class; for a modulize.nn row the module itself.
  std::string run_time_class;
  bool is_layer = false;       // the module is one of torch.nn
  bool is_registered = false;  // by register_op: nothing is known of what it does
  std::vector<Parameter> parameters;
  std::vector<CtorArgument> ctor;
  std::vector<Adoption> adopts;
  std::vector<ParameterValue> only;
  std::vector<std::size_t> ignored;
  std::optional<std::size_t> mode;
  std::optional<std::size_t> inplace;  // a parameter called `inplace`

  std::optional<std::size_t> find_parameter(std::string_view name) const;
  bool is_ignored(std::size_t parameter) const;
};

/// One spelling of an op.
struct OpSpelling {
  const Op* op = nullptr;
  std::string call;                    // qualified
  std::vector<Parameter> parameters;   // in this spelling's order, under its names
  std::vector<std::size_t> positions;  // parameter i of the spelling is parameter positions[i] of the op
  std::vector<ParameterValue> fixed;
  /// The result is written into the first argument, though the op's module is out of place.
  bool writes_first = false;
  /// An operator or builtin of Python: computes on tensors only when given one.
  bool is_operator = false;
};

/// The spelling that a call_function or call_method node uses; null for calls the table does not map.
const OpSpelling* find_op(const Node& node);
/// The same among the rows of layout operations, which find_op leaves out.
const OpSpelling* find_layout_op(const Node& node);
/// The entry of a call known not to compute, or null.
const PassiveRow* find_passive(const Node& node);
/// The op whose module class is `type` ("torch.nn.ReLU", "modulize.nn.Add", a class of a built-in target), or null.
const Op* find_op_of_module(std::string_view type);
/// The op that has the spelling: "torch.add", "F.relu", "operator.add". Null if none.
const Op* find_op_of_call(std::string_view call);

/// A constructor argument as rows write it. Throws Error where `op` has no such parameter.
CtorArgument parse_ctor_argument(const Op& op, std::string_view text);

/// Makes every later call of `call` (and of its overloads, if it is an operator of torch.ops) a call of module `type`,
/// constructed without arguments, named after `base`. A call registered before is replaced; calls that the table maps
/// are not looked for here. Not thread-safe against passes: the bridge calls both under Python's lock.
void register_op(std::string call, std::string type, std::string base);

/// All ops, in table order; all spellings, in table order.
const std::vector<Op>& all_ops();
const std::vector<OpSpelling>& all_spellings();

/// "torch._C._nn.linear" -> "torch.nn.functional.linear": the name under which the table knows a call.
std::string canonical_call(std::string_view target);

/// The shorthands of the rows written out: "F.relu" -> "torch.nn.functional.relu".
std::string qualified_call(std::string_view call);

/// A call's arguments by the op's parameters.
struct BoundArguments {
  ValueList values;         // one per parameter of the op; defaults filled in
  std::vector<bool> given;  // by the call or the spelling
  ValueList var_args;
  Kwargs var_kwargs;

  /// The same as a module's call: those equal to their defaults left out, positional as far as possible.
  /// `skip(i)` leaves parameter i out.
  template <class Skip>
  void to_call(const Op& op, ValueList& args, Kwargs& kwargs, Skip&& skip) const;
};

/// Nothing if the arguments do not fit the signature (an `out=`, an overload the row does not have).
std::optional<BoundArguments> bind_arguments(const OpSpelling& spelling, const Node& node);

template <class Skip>
void BoundArguments::to_call(const Op& op, ValueList& args, Kwargs& kwargs, Skip&& skip) const {
  bool positional = true;
  for (std::size_t i = 0; i < op.parameters.size(); ++i) {
    const Parameter& p = op.parameters[i];
    if (p.kind == Parameter::Kind::var_positional) {
      args.insert(args.end(), var_args.begin(), var_args.end());
    } else if (p.kind == Parameter::Kind::var_keyword) {
      kwargs.insert(kwargs.end(), var_kwargs.begin(), var_kwargs.end());
    } else if (skip(i) || (p.has_default && values[i] == p.default_value)) {
      positional = false;
    } else if (positional && p.kind == Parameter::Kind::normal) {
      args.push_back(values[i]);
    } else {
      kwargs.emplace_back(p.name, values[i]);
    }
  }
}

}  // namespace modulize
