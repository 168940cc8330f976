// What a call yields whose like has run with other sizes, told by torch's kernels for the meta device.
//
// A meta kernel computes shapes alone. It is believed for calls of one structure (call_structure of values/call_key.h)
// once it has told of one of them what the device's own kernel has yielded: sizes, strides and dtypes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/record/learnt_call.h"

namespace modulize {

/// One call. All borrowed.
struct InferredCall {
  PyObject *args, *kwargs;                // a tuple; a dict or null
  PyObject* layer;                        // whose Parameters and buffers count as arguments; null for a function
  const std::vector<PyObject*>& tensors;  // of both
  const std::function<PyObject*(PyObject* args, PyObject* kwargs)>& run;  // a new reference, null with an error set
};

/// Of one preparation. GIL held; no function mode of ours on the stack.
class ShapeInference {
 public:
  ShapeInference();
  ~ShapeInference();
  ShapeInference(const ShapeInference&) = delete;
  ShapeInference& operator=(const ShapeInference&) = delete;

  /// The call has yielded that; the first of its structure is an example for others.
  void remember(const std::string& structure, const InferredCall& call, const LearntCall& learnt);
  /// What the call would yield; null where no call of its structure has run, or the meta kernel tells otherwise.
  std::unique_ptr<LearntCall> infer(const std::string& structure, const InferredCall& call);

 private:
  struct Example;
  std::unordered_map<std::string, std::unique_ptr<Example>> examples_;
};

}  // namespace modulize
