// What the bridge needs of the installed torch, looked up once.
#pragma once

#include <string>

#include "bridge/python/python.h"

namespace modulize {

/// Facts about the installed torch that the capture asks often; read once a process.
struct TorchTypes {
  static const TorchTypes& instance();
  PyTypeObject* tensor_base;  // torch._C.TensorBase
  PyTypeObject* tensor;
  PyTypeObject* parameter;
  PyTypeObject* size;
  PyTypeObject* dtype;
  PyTypeObject* device;
  PyTypeObject* layout;
  PyTypeObject* memory_format;
  PyTypeObject* module;
  PyTypeObject* sequential;
  PyTypeObject* script_module;
  /// The mode on top of the stack of function modes; none where there is no stack, before torch 1.13.
  nb::object top_mode() const;
  PyObject* push_mode;  // torch.overrides._push_mode; null where there is no stack
  PyObject* pop_mode;
  PyObject* mode_stack_length;
  PyObject* mode_at;
  PyObject* detach;        // TensorBase.detach
  PyObject* fx_tracing;    // the module of torch.fx.wrap, which has another name before torch 1.10
  std::string folder;      // of the torch package, with a trailing separator
  std::string our_folder;  // of this package, likewise

  bool is_tensor(PyObject* o) const { return Py_TYPE(o) == tensor || PyType_IsSubtype(Py_TYPE(o), tensor_base); }
};

/// Is it code of a user's or of another library: not torch's, not ours, not Python's own, no method that a dataclass or
/// named tuple makes (the line that calls it says more)?
bool is_user_code(PyCodeObject* code);

}  // namespace modulize
