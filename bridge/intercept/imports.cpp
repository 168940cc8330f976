#include "bridge/intercept/imports.h"

#include <optional>

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

PyObject* import_slot(PyObject* self, PyObject* const* call, Py_ssize_t) {
  auto* const patches = static_cast<Patches*>(PyCapsule_GetPointer(PyTuple_GET_ITEM(self, 2), nullptr));
  return guarded<PyObject*>(nullptr, [&] {
    std::optional<Pause> quiet;
    if (Recorder* recorder = Recorder::current()) quiet.emplace(*recorder);
    patches->suspend();
    PyObject* const result = PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], call[1]);
    patches->resume();
    return result;
  });
}
PyMethodDef import_def = {"exec_module", as_c_function(import_slot), METH_FASTCALL, nullptr};

}  // namespace

void patch_imports(Patches& patches) {
  const nb::object loader = nb::module_::import_("importlib.machinery").attr("SourceFileLoader");
  replace_code(patches, loader.attr("exec_module"), &import_def, nb::capsule(&patches));
}

}  // namespace modulize
