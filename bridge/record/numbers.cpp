// What traced numbers ask of the capture that runs.
#include <frameobject.h>

#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "ir/control.h"

namespace modulize {

PyObject* Recorder::number_operation(const char* name, PyObject* const* operands, int count, PyObject* result) {
  nb::object owned = nb::steal(result);
  ValueList args;
  bool value_derived = false;
  for (int i = 0; i < count; ++i) {
    Value v = to_value(operands[i]);
    value_derived |= is_from_value(v);
    args.push_back(std::move(v));
  }
  const std::string_view text = name;
  if (value_derived) require_uncaught("arithmetic on a number read from a tensor", true);
  const NodeId node = add_function(text.find('.') == text.npos ? "operator." + std::string(text) : std::string(text),
                                   std::move(args), ValueType::number);
  if (value_derived) mark_read_from_value(node);
  return wrap_result(owned.ptr(), node, false);
}

namespace {
/// Is it Tensor.__iter__ that runs? It refuses tensors without dimensions, and so does the unbind that it returns.
bool is_in_tensor_iter() {
  static PyObject* const iter_code =
      nb::object(nb::module_::import_("torch").attr("Tensor").attr("__iter__").attr("__code__")).release().ptr();
  PyFrameObject* const frame = PyEval_GetFrame();
  return frame && nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame))).is(nb::handle(iter_code));
}
}  // namespace

bool Recorder::number_decision(const char* name, PyObject* const* operands, int count, bool truth) {
  if (is_in_tensor_iter()) return truth;
  ValueList args;
  bool by_value = false;
  for (int i = 0; i < count; ++i) {
    Value v = to_value(operands[i]);
    by_value |= is_from_value(v);
    args.push_back(std::move(v));
  }
  const NodeId condition = add_function("operator." + std::string(name), std::move(args), ValueType::number);
  if (by_value) mark_read_from_value(condition);
  return decide_number(condition, truth);
}

bool Recorder::decide_number(NodeId value, bool natural) {
  if (is_from_value(Value::node(value))) return decide(value, natural);
  add_check_here(value, Value::boolean(natural), "a decision on sizes");
  return natural;
}

void Recorder::number_leak(const char* what, PyObject* number) {
  const Value value = to_value(number);
  if (!value.is_node()) return;
  if (is_from_value(value)) refuse_control_flow(std::string(what) + " of a number read from a tensor");
  // Before Python's: the number may be asked for again at once, for a key twice.
  if (value.as_node() == last_leak_) return;
  last_leak_ = value.as_node();
  nb::object plain = checked(plain_number(number));
  ValueList args = {value, to_value(plain.ptr()), Value::string(std::string("a size that Python uses as ") + what)};
  if (std::string line = here(); !line.empty()) args.push_back(Value::string(std::move(line)));
  add_function(std::string(kLeak), std::move(args), ValueType::other);
}

bool note_number_leak(const char* what, PyObject* self) {
  Recorder* recorder = Recorder::recording();
  NumberOrigin origin;
  if (!recorder || !traced_origin(self, &origin) || origin.capture != recorder->id()) return true;
  return guarded<bool>(false, [&] {
    recorder->number_leak(what, self);
    return true;
  });
}

PyObject* record_number_operation(const char* name, PyObject* const* operands, int count, PyObject* result) {
  if (result == Py_NotImplemented) return result;
  Recorder* recorder = Recorder::recording();
  if (!recorder) return result;
  bool ours = false;
  NumberOrigin origin;
  for (int i = 0; i < count; ++i) ours |= traced_origin(operands[i], &origin) && origin.capture == recorder->id();
  if (!ours) return result;
  if (!result)
    return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
      nb::python_error raised;
      recorder->require_uncaught("arithmetic that raises", false);
      throw raised;
    });
  return guarded<PyObject*>(nullptr, [&] { return recorder->number_operation(name, operands, count, result); });
}

int record_number_decision(const char* name, PyObject* const* operands, int count, bool truth) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return truth;
  bool ours = false;
  NumberOrigin origin;
  for (int i = 0; i < count; ++i) ours |= traced_origin(operands[i], &origin) && origin.capture == recorder->id();
  if (!ours) return truth;
  return guarded<int>(-1, [&] { return recorder->number_decision(name, operands, count, truth) ? 1 : 0; });
}

}  // namespace modulize
