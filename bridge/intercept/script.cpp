#include "bridge/intercept/script.h"

#include <string>

#include "bridge/boundary/whole.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/modules.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"

namespace modulize {

namespace {

// `self` is (original __call__,).
PyObject* script_call_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    nb::handle function(PyTuple_GET_ITEM(args, 0));
    std::string target;
    // A scripted function of a module goes by the name of the Python function that it was made of.
    nb::object source = nb::getattr(function, "_torchdynamo_inline", nb::none());
    if (!source.is_none()) {
      const std::string home = text_of(nb::getattr(source, "__module__", nb::str(""))),
                        name = text_of(nb::getattr(source, "__qualname__", nb::str("<>")));
      PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), home.c_str());
      if (home != "__main__" && module && nb::getattr(nb::handle(module), name.c_str(), nb::none()).is(function))
        target = home + "." + name;
    }
    const std::string callee =
        target.empty() ? text_of(nb::getattr(function, "name", nb::str("a scripted function"))) : target;
    note_kept(*recorder, callee, "compiled by torch.jit");
    return record_whole(
        *recorder, CallKind::script_function, callee, args, kwargs,
        [&](Node& node) {
          node.target = target;
          if (target.empty()) node.callee = recorder->capture().objects.value(function);
          add_arguments(*recorder, args, 1, kwargs, node);
        },
        [&] { return PyObject_Call(original, args, kwargs); });
  });
}
PyMethodDef script_call_def = {"__call__", as_c_function(script_call_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

}  // namespace

void patch_script_functions(Patches& patches) {
  nb::object jit = nb::module_::import_("torch").attr("jit");
  if (!nb::hasattr(jit, "ScriptFunction")) return;
  nb::object type = jit.attr("ScriptFunction");
  nb::object original = type.attr("__call__");
  nb::object slot = checked(PyCFunction_New(&script_call_def, nb::make_tuple(original).ptr()));
  patches.set_class_entry(reinterpret_cast<PyTypeObject*>(type.ptr()), "__call__",
                          checked(PyInstanceMethod_New(slot.ptr())));
}

}  // namespace modulize
