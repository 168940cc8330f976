// Exceptions that forward catches and goes on: a graph catches none.
#include "bridge/python/errors.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/record/recorder.h"
#include "ir/runtime_calls.h"
#include "ops/effects_of.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

/// Does the code, at this line, catch an exception and go on? `surely`: not where a context manager of its own might.
bool catches(nb::handle code, int line, bool surely) {
  static PyObject* const helper = nb::object(nb::module_::import_("modulize._engine").attr("catches")).release().ptr();
#if PY_VERSION_HEX >= 0x030B0000
  if (PyBytes_GET_SIZE(reinterpret_cast<PyCodeObject*>(code.ptr())->co_exceptiontable) == 0) return false;
#endif
  return nb::cast<bool>(nb::handle(helper)(code, line, surely));
}

}  // namespace

bool may_raise_symbolically(const Node& node) {
  if ((node.op != Opcode::call_function && node.op != Opcode::call_method) || find_runtime_call(node)) return false;
  if (node.target.starts_with("operator.") || node.target.starts_with("math.") || node.target.empty()) return true;
  // Of a call that no table has, nothing says that its exceptions depend on values.
  return (find_op(node) || find_passive(node)) && raises_of_call(node.op, node.target) == Raises::by_values;
}

void Decisions::require_uncaught(const char* what, bool surely) {
  const Settings& settings = recorder_.settings;
  if (recorder_.mode() == CaptureMode::symbolic || settings.on_dynamic == "specialize") return;
  Places& places = recorder_.places();
  if (surely && !not_caught_.insert(static_cast<std::uint64_t>(places.scope()) << 32 | places.current()).second) return;
  const std::vector<RunningCode> running = places.running_codes();
  for (std::size_t i = 0; i < running.size(); ++i) {
    if (!catches(running[i].code, running[i].line, surely)) continue;
    PyErr_Clear();
    ask_to_keep(std::string(what) + " in code that catches what it raises",
                ": exclude the function (functions_to_exclude) or the module (modules_to_exclude) that catches it",
                settings.on_dynamic == "error" ? std::vector<KeepCandidate>()
                                               : keep_candidates(recorder_.capture(), running, places.scope(), i));
  }
}

void Decisions::require_uncaught_symbols(SourceId source) {
  if (source == kNoSource || !not_caught_.insert(source).second) return;
  const CodeSite& site = recorder_.places().site(source);
  if (catches(reinterpret_cast<PyObject*>(site.code), site.line(), true))
    throw Error(ErrorCode::CaptureError, "forward catches what this code may raise for some values" +
                                             recorder_.places().in_words() + ": give example_inputs");
}

}  // namespace modulize
