#include "bridge/boundary/call_outside.h"

#include <iterator>
#include <optional>

#include "bridge/boundary/call_sites.h"
#include "bridge/boundary/seen_whole.h"
#include "bridge/boundary/written_memory.h"
#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/numbers.h"
#include "bridge/record/proxy.h"
#include "bridge/record/stand_ins.h"
#include "bridge/world/checkpoint.h"

namespace modulize {

namespace {

constexpr Effects with(Effects effects, Yields yields, Raises raises) {
  effects.yields = yields;
  effects.raises = raises;
  return effects;
}

constexpr Effects preparing(Effects effects, bool sites) {
  effects.notes_inner_calls = true;
  effects.notes_call_sites = sites;
  return effects;
}

// Code of torch's that reads its arguments alone.
constexpr Effects kOfArguments{};
constexpr Effects kAlias = with(kOfArguments, Yields::may_alias, Raises::by_shapes);
// A function of the user's that torch runs under a transform: a function mode on the stack would see batched tensors.
constexpr Effects kTransform{.arguments = Access::unknown,
                             .objects = Access::unknown,
                             .module_state = Access::unknown,
                             .parameters = Access::reads,
                             .globals = Access::unknown,
                             .generators = Access::unknown,
                             .yields = Yields::may_alias,
                             .raises = Raises::by_values};

constexpr CallRow kRows[] = {
    {CallKind::number_function, "a function of numbers", "a function of numbers",
     with(kOfArguments, Yields::decides, Raises::by_values)},
    {CallKind::draw,
     "a draw of Python's or numpy's random",
     "a draw of a random number",
     {.generators = Access::writes, .yields = Yields::decides, .raises = Raises::never}},
    {CallKind::registered_operation, "a registered operation", "a registered operation",
     with(kAnything, Yields::fresh, Raises::by_values)},
    {CallKind::wrapped_function, "a function under torch.fx.wrap", "a call that is kept whole", kAnything},
    {CallKind::excluded_function, "an excluded function", "a call that is kept whole", kAnything},
    {CallKind::excluded_module, "an excluded module", "a module that is kept whole", kAnything},
    {CallKind::kept_function, "a kept function or statement", "a call that is kept whole", preparing(kAnything, true)},
    {CallKind::kept_module, "a kept module", "a module that is kept whole", preparing(kAnything, false)},
    {CallKind::root, "all of forward", "forward", preparing(kAnything, true)},
    {CallKind::hooked_layer, "a layer of torch with hooks", "a module that raises",
     with(kAnything, Yields::may_alias, Raises::by_shapes)},
    {CallKind::layer, "a layer of torch", "a module that raises", kAlias},
    {CallKind::autograd_function, "a torch.autograd.Function", "a torch.autograd.Function",
     with(kAnything, Yields::may_alias, Raises::by_values)},
    {CallKind::script_function,
     "a function of torch.jit",
     "a scripted function",
     {.arguments = Access::writes, .yields = Yields::may_alias, .raises = Raises::by_values}},
    {CallKind::transform, "torch.vmap, torch.func.grad", "a function transform", kTransform},
    {CallKind::setting,
     "what sets the state of torch",
     "a setting of torch",
     {.globals = Access::writes, .generators = Access::writes}},
    {CallKind::parameter_constructor, "nn.Parameter(x)", "nn.Parameter", kAlias},
};

constexpr bool is_in_order() {
  for (std::size_t i = 0; i < std::size(kRows); ++i)
    if (static_cast<std::size_t>(kRows[i].kind) != i) return false;
  return std::size(kRows) == static_cast<std::size_t>(CallKind::parameter_constructor) + 1;
}
static_assert(is_in_order());

/// Code that torch's function mode cannot look into may write what it is given.
void before_hidden_writes(Recorder& recorder, const OutsideCall& call) {
  if (effects_of(call.kind).arguments != Access::writes) return;
  const Pause quiet(recorder);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(call.args); ++i)
    recorder.world().tensors().before_write(PyTuple_GET_ITEM(call.args, i));
}

/// Code outside may read what it is given, and code that nobody has looked into whatever it can reach.
void require_values(Recorder& recorder, const OutsideCall& call) {
  StandIns* const stand_ins = recorder.settings.stand_ins;
  if (!stand_ins || call.kind == CallKind::layer || call.kind == CallKind::parameter_constructor) return;
  const Pause quiet(recorder);
  const CallRow& row = row_of(call.kind);
  stand_ins->require_values(call.args, call.kwargs, row.effects.is_unknown(), std::string(row.name));
}

}  // namespace

const CallRow& row_of(CallKind kind) { return kRows[static_cast<std::size_t>(kind)]; }

void drop_raised(Recorder& recorder, NodeId first) {
  nb::python_error raised;
  recorder.decisions().require_uncaught("a call that raises", false);
  recorder.rollback(first);
  raised.restore();
}

PyObject* run_outside(Recorder& recorder, CallKind kind, const std::string& region,
                      const std::function<PyObject*()>& run) {
  const Effects& effects = effects_of(kind);
  const Observe inside(recorder, effects.notes_call_sites ? &region : nullptr, effects.parameters >= Access::writes);
  return run();
}

PyObject* call_outside(Recorder& recorder, const OutsideCall& call) {
  const CallRow& row = row_of(call.kind);
  const Effects& effects = row.effects;
  const auto first = static_cast<NodeId>(recorder.graph().id_limit());
  // A number function raises for certain where it does: what a context manager might catch is no reason to keep it.
  if (effects.raises == Raises::by_values)
    recorder.decisions().require_uncaught(row.raising, /*surely=*/!effects.is_unknown());
  const SeenWhole seen(recorder, effects.is_unknown(), call.args, call.kwargs, call.callee);
  try {
    const NodeId sites = effects.notes_call_sites ? enter_sites(recorder, call.region) : kNoNode;
    const NodeId node = call.add();
    if (recorder.mode() == CaptureMode::symbolic) return make_proxy(recorder, node);
    require_values(recorder, call);
    before_hidden_writes(recorder, call);
    nb::object result = nb::steal(run_outside(recorder, call.kind, call.region, call.run));
    if (!result.is_valid()) {
      drop_raised(recorder, first);
      return nullptr;
    }
    if (sites != kNoNode) leave_sites(recorder, sites);
    const bool is_bool = PyBool_Check(result.ptr());
    {
      const Pause quiet(recorder);
      seen.reread();
      if (!is_bool) {
        const bool is_tensor_of_user =
            TorchTypes::instance().is_tensor(result.ptr()) &&
            (call.kind == CallKind::excluded_function || call.kind == CallKind::excluded_module);
        if (effects.yields == Yields::decides && effects.is_unknown() && !is_tensor_of_user)
          check_made(recorder, result, node, "what " + call.callee + " yields", true);
        return recorder.wrap_result(result.ptr(), node, call.in_place && call.in_place());
      }
    }
    // Python goes on by it.
    recorder.graph()[node].type = ValueType::number;
    return PyBool_FromLong(call.kind == CallKind::number_function
                               ? decide_number(recorder, node, result.ptr() == Py_True)
                               : recorder.decisions().decide(node, result.ptr() == Py_True));
  } catch (...) {
    recorder.rollback(first);
    throw;
  }
}

}  // namespace modulize
