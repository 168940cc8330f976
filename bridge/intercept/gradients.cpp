#include "bridge/intercept/gradients.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "bridge/world/checkpoint.h"

namespace modulize {

namespace {

// `self` is (torch.autograd.backward, clone).
PyObject* backward_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  return guarded<PyObject*>(nullptr, [&] {
    if (Recorder* recorder = Recorder::current()) {
      const Pause quiet(*recorder);
      recorder->world().before_backward();
    }
    return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], call[1]);
  });
}
PyMethodDef backward_def = {"backward", as_c_function(backward_slot), METH_FASTCALL, nullptr};

}  // namespace

void patch_backward(Patches& patches) {
  const nb::object function = nb::module_::import_("torch.autograd").attr("backward");
  if (PyFunction_Check(function.ptr())) replace_code(patches, function, &backward_def);
}

}  // namespace modulize
