// Calls outside of the graph: what each kind of them may do, and the one function that runs them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "bridge/record/recorder.h"

namespace modulize {

/// The kinds of calls whose inside is not recorded.
enum class CallKind : std::uint8_t {
  number_function,       // math.*, len, max of a traced number
  draw,                  // random.random and the like: a number of Python's generator
  registered_operation,  // of register_operation
  wrapped_function,      // under torch.fx.wrap, without inputs
  excluded_function,
  excluded_module,
  given_module,   // an argument of forward, or a part of one
  kept_function,  // and a statement of the root's forward that has become one
  kept_module,
  root,               // all of forward
  hooked_layer,       // a layer of torch with hooks of the user's
  layer,              // any other
  autograd_function,  // forward and setup_context
  script_function,
  transform,              // torch.vmap, torch.func.grad
  setting,                // torch.manual_seed and the like
  parameter_constructor,  // nn.Parameter(x)
};

/// What Python goes on with after such a call, beside a bool, which is a decision.
enum class Yielded : std::uint8_t {
  as_it_is,         // tensors, and what torch makes of its arguments
  checked,          // the structure of what it is: the call may yield anything
  a_tensor_or_any,  // likewise, but a tensor is one in every call
};

/// What is done around a call. Unless a cell says something else, nothing: code of torch's that reads its arguments.
/// Every cell is acted upon, and tools/mutate_contract.py shows that a test would miss it.
struct CallContract {
  bool runs_any_code = false;     // what forward has changed is written before it, and read again after it
  bool writes_arguments = false;  // past the function mode: the model's tensors among them are copied first
  bool is_watched = false;        // the function mode stays: what torch is about to write is copied first
  bool notes_sites = false;       // likewise, and the calls of torch in it get modules
  bool raises_by_values = false;  // where forward would catch it, more is kept
  Yielded yields = Yielded::as_it_is;
};

struct CallRow {
  CallKind kind;
  std::string_view name;  // for people
  const char* raising;    // what raises, where forward would catch it; null where it is not asked
  CallContract contract;
};

/// The table, in the order of the kinds; docs/architecture.md shows it.
const CallRow& row_of(CallKind kind);

/// One such call.
struct OutsideCall {
  CallKind kind;
  PyObject* args;                  // a tuple, what it is given; borrowed
  PyObject* kwargs = nullptr;      // a dict or null; borrowed
  std::string callee = {};         // as a message names it
  std::string region = {};         // of the sites that it notes
  std::function<NodeId()> add;     // records it, after what forward has changed was published; the node that yields
  std::function<PyObject*()> run;  // makes the call: a new reference, null with a Python error set
  std::function<bool()> in_place = {};  // did it write its first argument and give that back?
};

/// Publishes what is pending, adds the node, runs, settles what was written and checks what was yielded, all as the
/// row of its kind says. A new reference, or null with a Python error set; whatever was recorded is dropped then. GIL
/// held; throws Error or nb::python_error.
PyObject* call_outside(Recorder& recorder, const OutsideCall& call);

/// A call recorded from `first` on, of torch or of any other kind, has raised the error that is set, and will be set
/// again. What was recorded is dropped; throws KeepRequest where forward would catch the error.
void drop_raised(Recorder& recorder, NodeId first);

/// Of a call that belongs to another one's node: only runs it, watched as the row of its kind says.
PyObject* run_outside(Recorder& recorder, CallKind kind, const std::string& region,
                      const std::function<PyObject*()>& run);

}  // namespace modulize
