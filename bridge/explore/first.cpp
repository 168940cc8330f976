#include "bridge/explore/first.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "bridge/explore/explore.h"
#include "bridge/python/errors.h"
#include "bridge/values/module_scan.h"
#include "bridge/world/outside_state.h"
#include "explore/compare.h"

namespace modulize {

bool is_explicit_raise(nb::python_error& error) {
  nb::object trace = error.traceback();
  if (!trace.is_valid() || trace.is_none()) return false;
  while (!nb::object(trace.attr("tb_next")).is_none()) trace = trace.attr("tb_next");
  static const long raise = nb::cast<long>(nb::module_::import_("opcode").attr("opmap")["RAISE_VARARGS"]);
  const long at = nb::cast<long>(trace.attr("tb_lasti"));
  nb::object code = trace.attr("tb_frame").attr("f_code").attr("co_code");
  if (at < 0 || at >= PyBytes_GET_SIZE(code.ptr())) return false;
  return reinterpret_cast<const unsigned char*>(PyBytes_AS_STRING(code.ptr()))[at] == raise;
}

namespace {

/// Takes the last decision that nobody could know the other way. False if there is none that was not yet.
bool take_other_side(const CaptureOptions& options, const Capture& capture) {
  const auto is_untried = [&](const Decision& d) { return d.is_unknown && !options.unknown_outcomes->contains(d.key); };
  const auto last = std::find_if(capture.decisions.rbegin(), capture.decisions.rend(), is_untried);
  if (last == capture.decisions.rend()) return false;
  options.unknown_outcomes->emplace(last->key, false);
  return true;
}

}  // namespace

void capture_first(nb::handle root, CaptureOptions options, Capture& capture) {
  const bool running = options.is_running();
  std::unordered_map<std::string, bool> outcomes;
  options.outcomes = &outcomes;
  for (;; capture = Capture()) {
    try {
      return capture_model(root, options, capture);
    } catch (const Error&) {
      if (!capture.on_meta.is_refused || !take_other_side(options, capture)) throw;
      options.because(CaptureReason::other_side, capture.on_meta.values.back());
    } catch (nb::python_error& error) {
      if (capture.decisions.empty() || !is_explicit_raise(error)) throw;
      if (running) {
        if (!take_other_side(options, capture)) throw;
        options.because(CaptureReason::raised, capture.on_meta.values.back());
        continue;
      }
      const auto last = std::find_if(capture.decisions.rbegin(), capture.decisions.rend(),
                                     [&](const Decision& d) { return !outcomes.contains(d.key); });
      if (last == capture.decisions.rend()) throw;
      outcomes[last->key] = false;
      options.because(CaptureReason::raised, capture.graph.where(capture.graph[last->node]));
    }
  }
}

void require_no_outside_state(nb::handle root, CaptureOptions options, const Capture& first) {
  std::string suspects;
  for (const std::string& name : first.outside_suspects) suspects += (suspects.empty() ? "" : "; ") + name;
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::CaptureError, "forward depends on what is not of the model (" + suspects + "): " + why +
                                             "; give example_inputs, or keep it in the model");
  };
  options.found = first.outside.get();
  options.other_random_numbers = true;
  options.because(CaptureReason::outside_state, suspects);
  Capture second;
  try {
    capture_first(root, options, second);
  } catch (const Error& error) {
    refuse(std::string("captured once more, ") + error.what());
  } catch (nb::python_error& error) {
    if (is_fatal(error)) throw;
    refuse("captured once more, it raises " + text_of(nb::handle(error.value())));
  }
  const auto difference = compare_captures({first.graph}, first, second, Checks::equal);
  if (difference) {
    const std::string where = difference->node == kNoNode ? "" : first.graph.where(first.graph[difference->node]);
    refuse("captured once more, " + difference->what + (where.empty() ? "" : " at " + where));
  }
  for (const auto& [name, tensor] : first.constants) {
    const auto it = second.constants.find(name);
    if (it == second.constants.end() || it->second.is(tensor)) continue;
    if (!nb::cast<bool>(nb::module_::import_("torch").attr("equal")(tensor, it->second)))
      refuse("captured once more, a tensor that it makes has other values");
  }
}

namespace {

bool is_library_frame(nb::handle frame) {
  return is_library_module(text_of(nb::object(frame.attr("f_globals")).attr("get")("__name__", "")));
}

/// Does it come of a `raise` in code that is no library's?
bool is_raised_by_user(nb::python_error& error) {
  nb::object trace = error.traceback(), frame;
  for (; trace.is_valid() && !trace.is_none(); trace = trace.attr("tb_next")) frame = trace.attr("tb_frame");
  return frame.is_valid() && !is_library_frame(frame) && is_explicit_raise(error);
}

/// "file:line" of the last frame that is no library's; empty if there is none.
std::string place_of_user(nb::python_error& error) {
  std::string out;
  for (nb::object trace = error.traceback(); trace.is_valid() && !trace.is_none(); trace = trace.attr("tb_next"))
    if (const nb::object frame = trace.attr("tb_frame"); !is_library_frame(frame))
      out = text_of(frame.attr("f_code").attr("co_filename")) + ":" + text_of(trace.attr("tb_lineno"));
  return out;
}

}  // namespace

void refuse_symbols(nb::python_error& error) {
  if (is_fatal(error) || is_error(error, ErrorCode::ModulizeError)) return;
  for (PyObject* own : {PyExc_NameError, PyExc_ImportError, PyExc_ArithmeticError, PyExc_OSError})
    if (error.matches(own)) return;
  if (is_raised_by_user(error)) return;
  const std::string where = place_of_user(error);
  throw Error(ErrorCode::CaptureError,
              "without inputs forward gets symbols in place of tensors and sizes, and raises " +
                  text_of(error.type().attr("__name__")) + (where.empty() ? "" : " at " + where) + ": " +
                  text_of(nb::handle(error.value())) + ": give example_inputs");
}

}  // namespace modulize
