#include "bridge/boundary/without_values.h"

#include <algorithm>
#include <string>

#include "bridge/python/errors.h"
#include "bridge/values/call_key.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/parts.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

/// Torch raises NotImplementedError where it has no kernel for the meta device, or RuntimeError that names it. What any
/// other RuntimeError says of a call that shapes tell all about is the user's to know.
bool lacks_values(nb::python_error& error, bool is_told_by_values) {
  if (error.matches(PyExc_NotImplementedError)) return true;
  if (!error.matches(PyExc_RuntimeError) || is_own(error)) return false;
  return is_told_by_values || text_of(nb::handle(error.value())).find(" meta") != std::string::npos;
}

/// What torch says, in one line.
[[noreturn]] void refuse(Recorder& recorder, const std::string& what, const nb::python_error& error) {
  constexpr std::size_t kLongest = 160;
  std::string text = text_of(nb::handle(error.value()));
  text = text.substr(0, std::min(text.find('\n'), text.size()));
  if (text.size() > kLongest) text = text.substr(0, text.rfind(' ', kLongest)) + " ...";
  recorder.decisions().refuse_without_values(what, text_of(error.type().attr("__name__")) + ": " + text);
}

}  // namespace

bool is_without_values(PyObject* args, PyObject* kwargs) {
  bool any = false;
  const auto look = [&](nb::handle tensor) { any |= nb::cast<bool>(tensor.attr("is_meta")); };
  for_each_tensor(args, look);
  if (kwargs && !any) for_each_tensor(kwargs, look);
  return any;
}

PyObject* answer_without_values(Recorder& recorder, const CallName& name, NodeId node, PyObject* args,
                                PyObject* kwargs) {
  if (name.tells != Tells::answer && name.tells != Tells::value) return nullptr;
  const PassiveRow* const row = find_passive(recorder.graph()[node]);
  if (!row || (name.tells == Tells::value && row->result != ValueType::number)) return nullptr;
  nb::python_error error;  // torch answers no question while one is set
  const auto give_back = [&]() -> PyObject* {
    error.restore();
    return nullptr;
  };
  if (!lacks_values(error, true) || !is_without_values(args, kwargs)) return give_back();
  NumberKind kind = NumberKind::boolean;
  if (name.tells == Tells::value) {
    const nb::object dtype = nb::handle(PyTuple_GET_ITEM(args, 0)).attr("dtype");
    kind = kind_of_dtype(dtype.ptr());
    if (kind == NumberKind::other || nb::cast<bool>(dtype.attr("is_complex"))) return give_back();
  }
  recorder.graph()[node].type = ValueType::number;
  if (kind == NumberKind::boolean) return PyBool_FromLong(recorder.decisions().decide_unknown(node));
  recorder.origins().mark_from_value(node, /*is_unknown=*/true);
  recorder.capture().on_meta.values.push_back(recorder.places().here());
  const nb::object one = kind == NumberKind::integer ? nb::object(nb::int_(1)) : nb::object(nb::float_(1.0));
  return recorder.wrap_result(one.ptr(), node, false);
}

void refuse_without_values(Recorder& recorder, const CallName& name, PyObject* args, PyObject* kwargs) {
  nb::python_error error;
  const bool hands_memory = name.tells == Tells::memory && error.matches(PyExc_TypeError);
  const bool is_told_by_values = name.told_by == ToldBy::values || name.tells == Tells::answer;
  if ((hands_memory || lacks_values(error, is_told_by_values)) && is_without_values(args, kwargs)) {
    const std::string called = name.name.empty() ? "a call" : name.name + "()";
    refuse(recorder, name.form == CallForm::method ? "Tensor." + called : called, error);
  }
  error.restore();
}

void refuse_layer_without_values(Recorder& recorder, PyObject* layer, PyObject* args, PyObject* kwargs) {
  nb::python_error error;
  if (lacks_values(error, false) && is_without_values(args, kwargs))
    refuse(recorder, class_name(Py_TYPE(layer)), error);
  error.restore();
}

}  // namespace modulize
