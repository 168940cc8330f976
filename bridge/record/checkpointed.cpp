#include "bridge/record/checkpointed.h"

#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "bridge/values/parts.h"

namespace modulize {

namespace {

nb::object storage_of(PyObject* tensor) {
  nb::object storage = nb::steal(PyObject_CallMethod(tensor, "untyped_storage", nullptr));
  if (!storage.is_valid()) PyErr_Clear();  // a tensor without one
  return storage;
}

}  // namespace

void CheckpointedResults::note(PyObject* result) {
  if (recorder_.mode() == CaptureMode::symbolic) return;
  const Pause quiet(recorder_);
  for_each_tensor(result, [&](nb::handle tensor) {
    if (nb::object storage = storage_of(tensor.ptr()); storage.is_valid()) storages_.push_back(std::move(storage));
  });
  around_ = recorder_.decisions().candidates();
}

void CheckpointedResults::refuse_write(PyObject* tensor) {
  if (storages_.empty() || !TorchTypes::instance().is_tensor(tensor)) return;
  nb::object storage;
  {
    const Pause quiet(recorder_);
    storage = storage_of(tensor);
  }
  if (!storage.is_valid()) return;
  for (const nb::object& known : storages_)
    if (known.attr("data_ptr")().equal(storage.attr("data_ptr")()))
      recorder_.decisions().ask_to_keep(
          "a write of what torch.utils.checkpoint yields",
          ": exclude the function (functions_to_exclude) or the module (modules_to_exclude) that calls it",
          recorder_.settings.on_dynamic == "error" ? std::vector<KeepCandidate>() : around_);
}

}  // namespace modulize
