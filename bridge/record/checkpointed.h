// What torch.utils.checkpoint has yielded. It computes its inside once more for the backward pass, so that forward may
// write what it yields; recorded through, nothing does.
#pragma once

#include <vector>

#include "bridge/record/capture.h"

namespace modulize {

class Recorder;

/// Of one capture. GIL held; throws Error or nb::python_error.
class CheckpointedResults {
 public:
  explicit CheckpointedResults(Recorder& recorder) : recorder_(recorder) {}

  /// torch.utils.checkpoint has yielded this.
  void note(PyObject* result);
  /// Throws KeepRequest where the memory of `tensor`, which is written now, is that of such a result.
  void refuse_write(PyObject* tensor);

 private:
  Recorder& recorder_;
  std::vector<nb::object> storages_;  // held, so that their addresses mean these results
  std::vector<KeepCandidate> around_;
};

}  // namespace modulize
