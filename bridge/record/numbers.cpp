#include "bridge/record/numbers.h"

#include <frameobject.h>

#include <algorithm>
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "ir/control.h"

namespace modulize {

bool decide_number(Recorder& recorder, NodeId value, bool natural) {
  if (recorder.origins().is_unknown(Value::node(value))) return recorder.decisions().decide_unknown(value);
  if (recorder.origins().is_from_value(Value::node(value))) return recorder.decisions().decide(value, natural);
  add_check_here(recorder, value, Value::boolean(natural), "a decision on sizes");
  return natural;
}

namespace {

ValueList operand_values(Recorder& recorder, PyObject* const* operands, int count) {
  ValueList args;
  for (int i = 0; i < count; ++i) args.push_back(recorder.to_value(operands[i]));
  return args;
}

/// What is made of numbers that are read from tensors, or not there, is so too.
void inherit_marks(Recorder& recorder, NodeId node) {
  Origins& origins = recorder.origins();
  for (const Value& operand : recorder.graph()[node].args) {
    if (origins.is_from_value(operand)) origins.mark_from_value(node, origins.is_unknown(operand));
  }
}

/// Steals `result`.
PyObject* number_operation(Recorder& recorder, const char* name, PyObject* const* operands, int count,
                           PyObject* result) {
  const nb::object owned = nb::steal(result);
  ValueList args = operand_values(recorder, operands, count);
  const std::string_view text = name;
  const auto is_from_value = [&](const Value& operand) { return recorder.origins().is_from_value(operand); };
  if (std::any_of(args.begin(), args.end(), is_from_value))
    recorder.decisions().require_uncaught("arithmetic on a number read from a tensor", true);
  const NodeId node =
      recorder.add_function(text.find('.') == text.npos ? "operator." + std::string(text) : std::string(text),
                            std::move(args), ValueType::number);
  inherit_marks(recorder, node);
  return recorder.wrap_result(owned.ptr(), node, false);
}

/// Is it Tensor.__iter__ that runs? It refuses tensors without dimensions, and so does the unbind that it returns.
bool is_in_tensor_iter() {
  static PyObject* const iter_code =
      nb::object(nb::module_::import_("torch").attr("Tensor").attr("__iter__").attr("__code__")).release().ptr();
  PyFrameObject* const frame = PyEval_GetFrame();
  return frame && nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame))).is(nb::handle(iter_code));
}

bool number_decision(Recorder& recorder, const char* name, PyObject* const* operands, int count, bool truth) {
  if (is_in_tensor_iter()) return truth;
  ValueList args = operand_values(recorder, operands, count);
  const NodeId condition = recorder.add_function("operator." + std::string(name), std::move(args), ValueType::number);
  inherit_marks(recorder, condition);
  return decide_number(recorder, condition, truth);
}

/// Python learns the number by `what`: of a size that is a leak, of a value the end.
void number_leak(Recorder& recorder, const char* what, PyObject* number) {
  const Value value = recorder.to_value(number);
  if (!value.is_node()) return;
  if (recorder.origins().is_unknown(value))
    recorder.decisions().refuse_without_values(std::string(what) + " of a number read from a tensor");
  if (recorder.origins().is_from_value(value))
    recorder.decisions().refuse_control_flow(std::string(what) + " of a number read from a tensor");
  if (recorder.origins().has_just_leaked(value.as_node())) return;
  const nb::object plain = checked(plain_number(number));
  ValueList args = {value, recorder.to_value(plain.ptr()),
                    Value::string(std::string("a size that Python uses as ") + what)};
  if (std::string line = recorder.places().here(); !line.empty()) args.push_back(Value::string(std::move(line)));
  const NodeId leak = recorder.add_function(std::string(kLeak), std::move(args), ValueType::other);
  recorder.origins().note_leak(value.as_node(), leak);
}

/// Is one of the operands a number of this capture?
bool is_any_ours(Recorder& recorder, PyObject* const* operands, int count) {
  NumberOrigin origin;
  for (int i = 0; i < count; ++i)
    if (traced_origin(operands[i], &origin) && origin.capture == recorder.origins().capture()) return true;
  return false;
}

}  // namespace

bool note_number_leak(const char* what, PyObject* self) {
  Recorder* recorder = Recorder::recording();
  NumberOrigin origin;
  if (!recorder || !traced_origin(self, &origin) || origin.capture != recorder->origins().capture()) return true;
  return guarded<bool>(false, [&] {
    number_leak(*recorder, what, self);
    return true;
  });
}

PyObject* record_number_operation(const char* name, PyObject* const* operands, int count, PyObject* result) {
  if (result == Py_NotImplemented) return result;
  Recorder* recorder = Recorder::recording();
  if (!recorder) return result;
  if (!is_any_ours(*recorder, operands, count)) return result;
  if (!result)
    return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
      nb::python_error raised;
      recorder->decisions().require_uncaught("arithmetic that raises", false);
      throw raised;
    });
  return guarded<PyObject*>(nullptr, [&] { return number_operation(*recorder, name, operands, count, result); });
}

int record_number_decision(const char* name, PyObject* const* operands, int count, bool truth) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return truth;
  if (!is_any_ours(*recorder, operands, count)) return truth;
  return guarded<int>(-1, [&] { return number_decision(*recorder, name, operands, count, truth) ? 1 : 0; });
}

}  // namespace modulize
