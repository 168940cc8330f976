// Exceptions that forward catches and goes on: a graph catches none.
#include "bridge/python/errors.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/record/recorder.h"

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
  return (node.op == Opcode::call_function || node.op == Opcode::call_method) &&
         (node.target.starts_with("operator.") || node.target.starts_with("math.") || node.target.empty() ||
          may_raise_by_value(node.target));
}

void Recorder::require_uncaught(const char* what, bool surely) {
  if (mode_ == CaptureMode::symbolic || on_dynamic == "specialize") return;
  if (surely && !not_caught_.insert(static_cast<std::uint64_t>(scope_) << 32 | current_source()).second) return;
  const std::vector<RunningCode> running = running_codes();
  for (std::size_t i = 0; i < running.size(); ++i) {
    if (!catches(running[i].code, running[i].line, surely)) continue;
    PyErr_Clear();
    const std::string why = std::string(what) + " in code that catches what it raises";
    KeepRequest made(
        why + place() +
            ": exclude the function (functions_to_exclude) or the module (modules_to_exclude) that "
            "catches it",
        why, on_dynamic == "error" ? std::vector<KeepCandidate>() : keep_candidates(capture_, running, scope_, i));
    if (!request) request = made;
    throw made;
  }
}

void Recorder::refuse_caught_symbols(SourceId source) {
  if (source == kNoSource || !not_caught_.insert(source).second) return;
  const Site& site = sites_[source - 1];
  if (catches(reinterpret_cast<PyObject*>(site.code), line_of(site.code, site.lasti), true))
    throw Error(ErrorCode::CaptureError,
                "forward catches what this code may raise for some values" + place() + ": give example_inputs");
}

}  // namespace modulize
