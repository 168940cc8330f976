// One row of the op table: all that a mapping from calls to a module needs.
#pragma once

#include <cstdint>
#include <string_view>

#include "ir/effects.h"
#include "ir/graph.h"

namespace modulize {

/// A call that computes, and the module that computes the same. All texts are static.
///
/// Shorthands in names of calls: `F.` is torch.nn.functional., `Tensor.` is torch.Tensor., `op.` is operator.
struct OpRow {
  /// The function that defines the meaning: "F.leaky_relu".
  std::string_view call;
  /// "torch.nn.LeakyReLU": settings in the constructor, tensors in the call; or
  /// "modulize.nn.Add": no settings, everything in the call (the class is generated from this row).
  std::string_view module;
  /// Parameters of `call` in Python's spelling: "input, negative_slope=0.01, inplace=False".
  std::string_view signature;
  /// Constructor arguments of a torch.nn module, see `CtorArgument` in op_match.h:
  /// "negative_slope, inplace", "out_channels=weight.shape[0], bias=has(bias)|True".
  std::string_view ctor = {};
  /// Further spellings, comma separated. Each may carry its own parameters: `Tensor.clamp_min(input, min)`, under other
  /// names than the row's as `name:parameter`, `torch.rsub(input:other, other:input, *, alpha=1)`; and fixed arguments,
  /// `F.relu_[inplace=True]`.
  std::string_view also = {};
  /// Spellings that write the result into their first argument; the module itself is out of place.
  std::string_view inplace = {};
  /// What new modules are named after; the last part of `call` where empty.
  std::string_view base = {};
  /// Classes of the targets; their form stands in ops/target.h. In aimet_torch.nn.modules.custom:
  std::string_view aimet = {};
  /// In torch.ao.nn.quantized:
  std::string_view torch_ao = {};
  /// In brevitas.nn:
  std::string_view brevitas = {};
  /// Tensors that the module holds instead of taking them: "weight, bias?" (`?`: may be None;
  /// `bias?weight`: and is given only together with weight).
  std::string_view adopt = {};
  /// What the module can do: "dtype=None, antialias=False". Other values go to the run-time class, or stay a call.
  std::string_view only = {};
  /// Parameters without meaning for the result: "_stacklevel".
  std::string_view ignore = {};
  /// The parameter that is the mode flag: "training".
  std::string_view mode = {};
  /// The run-time class of a torch.nn row, which takes every argument in the call; "Dynamic<Class>" where empty.
  std::string_view dynamic = {};
  /// Python of the generated class's forward where it is not the plain call.
  std::string_view body = {};
  /// What it computes, for the docstring: "`input + alpha * other`".
  std::string_view doc = {};
  /// Arguments for the tests: "f32[2,3], negative_slope=0.2".
  std::string_view sample = {};
  /// What the call yields; `unknown` where it depends on the arguments (torch.max).
  ValueType result = ValueType::tensor;
  /// Draws random numbers: order and number of calls matter.
  bool random = false;
  /// Changes tensors it is given (running statistics) or other state.
  bool effect = false;
  /// The result may share storage with an input.
  bool may_alias = false;
  /// Moves values only: a module where `layout_modules` asks for it, a passive call otherwise.
  bool layout = false;
  /// By what it may raise.
  Raises raises = Raises::by_shapes;
  /// Values tell how much it yields, or it hands them to a function of Python.
  bool sized_by_values = false;
};

/// What Python learns from a call beside shapes: it may be another in another call with the same shapes. A question
/// that Python asks of a tensor is a row with one of these, among the passive ones or in attributes.cpp.
enum class Tells : std::uint8_t {
  nothing,
  value,   // a Python value read out of a tensor's data
  plain,   // the same as a number of Python's own, which nothing can follow
  answer,  // a bool that depends on a tensor's data, on how it lies in memory, or on where the model runs
  pieces,  // as many tensors as there are rows, or as fit
  kind,    // a bool that depends on the dtype, the layout or the sizes: an assumption
  memory,  // what gives code that torch does not see the data, or tells how it lies in memory
  object,  // about the object as Python has it, not about what it computes: no part of a graph
};

/// Why a call becomes no module.
enum class PassiveReason : std::uint8_t {
  view,                // the same storage, seen otherwise
  shape,               // yields sizes and numbers
  metadata,            // yields dtype, device, flags
  constructor,         // makes a tensor out of nothing
  random_constructor,  // makes a random tensor out of nothing
  moves_data,          // yields values that were in the inputs
  converts,            // the same values in another dtype, on another device, in another layout
  boolean,             // comparisons and logic
  integer,             // indices and counts
  in_place_write,      // moves data into an existing tensor
  number,              // Python numbers
  protocol,            // Python's and autograd's bookkeeping around tensors: copying, printing, attributes
  autograd,            // gradients and their hooks
  // These compute or act: no module of torch stands for them, and the report names them.
  recurrent,      // nn.LSTM and the like are leaves; their functions stay calls
  quantized,      // on quantized tensors
  sparse,         // on sparse and jagged layouts
  internal,       // what public functions and layers are made of, and operators of one backend
  communication,  // between processes
};

/// True for the reasons of calls that compute or act all the same.
constexpr bool is_kept_computation(PassiveReason reason) { return reason >= PassiveReason::recurrent; }
/// In op_table.cpp.
std::string_view passive_reason_name(PassiveReason reason);

/// A call that never becomes a module.
struct PassiveRow {
  std::string_view call;
  PassiveReason reason;
  ValueType result = ValueType::tensor;
  /// The result may share storage with an input; of a random_constructor: it fills a tensor that it is given.
  bool may_alias = false;
  Raises raises = Raises::by_shapes;
  Tells tells = Tells::nothing;
  /// A statement of Python: called for what it does, and yields None.
  bool is_statement = false;
  /// Values tell how much it yields, or it hands them to a function of Python.
  bool sized_by_values = false;
};

/// The row of such a call.
constexpr PassiveRow sized_by_values(PassiveRow row) {
  row.sized_by_values = true;
  return row;
}

}  // namespace modulize
