#include "bridge/record/attention.h"

#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"

namespace modulize {

Pause::Pause(Recorder& recorder) : attention_(recorder.attention()), was_paused_(attention_.is_paused) {
  const TorchTypes& torch = TorchTypes::instance();
  // Another mode may lie above ours (`with torch.device(...)`): then only the flag keeps us quiet.
  if (torch.top_mode().is(attention_.function_mode))
    popped_ = checked(PyObject_CallNoArgs(torch.pop_mode)).release().ptr();
  attention_.is_paused = true;
}

Pause::~Pause() {
  attention_.is_paused = was_paused_;
  if (!popped_) return;
  // Runs while an exception of the model may be set: keep it.
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyObject* done = PyObject_CallOneArg(TorchTypes::instance().push_mode, popped_);
  Py_XDECREF(done);
  Py_DECREF(popped_);
  PyErr_Restore(type, value, trace);
}

PauseFlag::PauseFlag(Recorder& recorder) : attention_(recorder.attention()), was_(attention_.is_paused) {
  attention_.is_paused = true;
}

Observe::Observe(Recorder& recorder, const std::string* region, bool watches)
    : attention_(recorder.attention()),
      was_observed_(attention_.observed),
      was_region_(attention_.region),
      was_watching_(attention_.watches) {
  if (region) attention_.region = region;
  attention_.watches = region || watches;
  if (attention_.watches)
    flag_.emplace(recorder);
  else
    pause_.emplace(recorder);
  attention_.observed = region;
}

Observe::~Observe() {
  attention_.observed = was_observed_;
  attention_.watches = was_watching_;
  attention_.region = was_region_;
}

}  // namespace modulize
