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

// What is left out is not asked of that kind: a capture without inputs has no values, and refuses by itself every
// symbol whose exception is caught; all of forward is not called from anywhere. Code whose sites are noted is watched
// for them.
constexpr CallRow kRows[] = {
    {CallKind::number_function, "a function of numbers", "a function of numbers", {.raises_by_values = true}},
    {CallKind::draw, "a draw of Python's or numpy's random", nullptr, {}},
    {CallKind::registered_operation,
     "a registered operation",
     "a registered operation",
     {.runs_any_code = true, .is_watched = true, .raises_by_values = true}},
    {CallKind::wrapped_function, "a function under torch.fx.wrap", nullptr, {.runs_any_code = true}},
    {CallKind::excluded_function,
     "an excluded function",
     "a call that is kept whole",
     {.runs_any_code = true, .is_watched = true, .raises_by_values = true, .yields = Yielded::a_tensor_or_any}},
    {CallKind::excluded_module,
     "an excluded module",
     "a module that is kept whole",
     {.runs_any_code = true, .is_watched = true, .raises_by_values = true, .yields = Yielded::a_tensor_or_any}},
    {CallKind::given_module,
     "a module given as an argument",
     "a module that is given",
     {.runs_any_code = true, .is_watched = true, .raises_by_values = true, .yields = Yielded::a_tensor_or_any}},
    {CallKind::kept_function,
     "a kept function or statement",
     "a call that is kept whole",
     {.runs_any_code = true, .notes_sites = true, .raises_by_values = true, .yields = Yielded::checked}},
    {CallKind::kept_module,
     "a kept module",
     "a module that is kept whole",
     {.runs_any_code = true, .is_watched = true, .raises_by_values = true, .yields = Yielded::checked}},
    {CallKind::root, "all of forward", nullptr, {.notes_sites = true}},
    {CallKind::hooked_layer, "a layer of torch with hooks", nullptr, {.runs_any_code = true, .is_watched = true}},
    {CallKind::layer, "a layer of torch", nullptr, {}},
    {CallKind::autograd_function,
     "a torch.autograd.Function",
     "a torch.autograd.Function",
     {.runs_any_code = true, .is_watched = true, .raises_by_values = true}},
    {CallKind::script_function,
     "a function of torch.jit",
     "a scripted function",
     {.writes_arguments = true, .raises_by_values = true}},
    // A function mode on the stack would see batched tensors.
    {CallKind::transform,
     "torch.vmap, torch.func.grad",
     "a function transform",
     {.runs_any_code = true, .raises_by_values = true}},
    {CallKind::setting, "what sets the state of torch", nullptr, {}},
    {CallKind::parameter_constructor, "nn.Parameter(x)", nullptr, {}},
};

constexpr bool is_in_order() {
  for (std::size_t i = 0; i < std::size(kRows); ++i)
    if (static_cast<std::size_t>(kRows[i].kind) != i) return false;
  return std::size(kRows) == static_cast<std::size_t>(CallKind::parameter_constructor) + 1;
}
static_assert(is_in_order());

/// Code that torch's function mode cannot look into may write what it is given.
void before_hidden_writes(Recorder& recorder, const OutsideCall& call) {
  if (!row_of(call.kind).contract.writes_arguments) return;
  const Pause quiet(recorder);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(call.args); ++i)
    recorder.world().before_write(PyTuple_GET_ITEM(call.args, i));
}

/// Code outside may read what it is given, and code that nobody has looked into whatever it can reach.
void require_values(Recorder& recorder, const OutsideCall& call) {
  StandIns* const stand_ins = recorder.settings.stand_ins;
  if (!stand_ins || call.kind == CallKind::layer || call.kind == CallKind::parameter_constructor) return;
  const Pause quiet(recorder);
  const CallRow& row = row_of(call.kind);
  stand_ins->require_values(call.args, call.kwargs, row.contract.runs_any_code, std::string(row.name));
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
  const CallContract& contract = row_of(kind).contract;
  const Observe inside(recorder, contract.notes_sites ? &region : nullptr, contract.is_watched);
  return run();
}

PyObject* call_outside(Recorder& recorder, const OutsideCall& call) {
  const CallRow& row = row_of(call.kind);
  const CallContract& contract = row.contract;
  const auto first = static_cast<NodeId>(recorder.graph().id_limit());
  // A number function raises for certain where it does: what a context manager might catch is no reason to keep it.
  if (contract.raises_by_values) recorder.decisions().require_uncaught(row.raising, /*surely=*/!contract.runs_any_code);
  const SeenWhole seen(recorder, contract.runs_any_code, call.args, call.kwargs, call.callee);
  try {
    const NodeId sites = contract.notes_sites ? enter_sites(recorder, call.region) : kNoNode;
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
        if (contract.yields == Yielded::checked ||
            (contract.yields == Yielded::a_tensor_or_any && !TorchTypes::instance().is_tensor(result.ptr())))
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
