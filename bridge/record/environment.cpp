#include "bridge/record/environment.h"

#include <frameobject.h>

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"

namespace modulize {

bool ambient(Recorder& recorder, const std::string& question, ValueList args, bool answer) {
  const Settings& settings = recorder.settings;
  if (recorder.regions().answers(question)) return answer;
  const bool natural = answer;
  if (settings.flipped.contains(question)) answer = !answer;
  if (settings.silent.contains(question)) return answer;
  // What is asked again has the same answer.
  std::vector<AmbientQuestion>& asked = recorder.capture().ambient_questions;
  for (const AmbientQuestion& known : asked)
    if (known.question == question && recorder.graph()[known.value].args == args) return known.answer;
  const NodeId value = recorder.add_function(question, std::move(args), ValueType::number);
  if (settings.on_dynamic == "branch")
    answer = recorder.decisions().decide(value, natural, question);
  else
    // The same whether flipped or not, so that the graphs of two worlds can be compared.
    add_check_here(recorder, value, Value::boolean(natural), question + "()");
  asked.push_back({question, value, answer});
  return answer;
}

bool is_asked_by_torch(int frames_above) {
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  for (; frame && frames_above > 0; --frames_above) {
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  if (!frame) return true;
  nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  Py_DECREF(frame);
  auto* asker = reinterpret_cast<PyCodeObject*>(code.ptr());
  // torchvision counts the uses of its functions, but not while torch.jit looks on: nothing to capture again for.
  if (PyUnicode_CompareWithASCIIString(asker->co_name, "_log_api_usage_once") == 0) return true;
  const char* file = PyUnicode_AsUTF8(asker->co_filename);
  if (!file) {
    PyErr_Clear();
    return false;
  }
  return std::string_view(file).starts_with(TorchTypes::instance().folder);
}

}  // namespace modulize
