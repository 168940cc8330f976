#include "bridge/intercept/autograd_functions.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "bridge/boundary/whole.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/python/weak_table.h"
#include "bridge/record/function_names.h"
#include "bridge/record/modules.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"

namespace modulize {

namespace {

// `apply` is a builtin that may have been bound long before the capture; what it calls is not. `self` is (forward,
// clone with the real code, the class if forward has no context argument, else None).
PyObject* function_forward_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *clone = PyTuple_GET_ITEM(self, 1), *args = call[0], *kwargs = or_null(call[1]);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(clone, args, kwargs);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    nb::object cls = nb::borrow(PyTuple_GET_ITEM(self, 2)), context;
    if (cls.is_none()) {
      if (PyTuple_GET_SIZE(args) > 0) {
        context = nb::borrow(PyTuple_GET_ITEM(args, 0));
        if (nb::hasattr(context, "_forward_cls")) cls = context.attr("_forward_cls");
      }
      if (cls.is_none()) return PyObject_Call(clone, args, kwargs);  // not through apply: a function like any other
    }
    const CallName name = FunctionNames::instance().find(cls.ptr());
    const std::string callee = name.form == CallForm::function ? name.name : text_of(cls.attr("__qualname__"));
    note_kept(*recorder, callee, "a torch.autograd.Function: its backward is its own");
    return record_whole(
        *recorder, CallKind::autograd_function, callee, args, kwargs,
        [&](Node& node) {
          if (name.form == CallForm::function)
            node.target = name.name + ".apply";
          else
            node.callee = recorder->capture().objects.value(nb::object(cls.attr("apply")));
          add_arguments(*recorder, args, context.is_valid() ? 1 : 0, kwargs, node);
        },
        [&] { return PyObject_Call(clone, args, kwargs); },
        [&] { return context.is_valid() && !nb::object(nb::getattr(context, "dirty_tensors", nb::none())).is_none(); });
  });
}
PyMethodDef function_forward_def = {"forward", as_c_function(function_forward_slot), METH_FASTCALL, nullptr};

// `setup_context` belongs to the call. `self` is (function, clone).
PyObject* unrecorded_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], or_null(call[1]));
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (recorder->mode() == CaptureMode::symbolic) return nb::none().release().ptr();
    return run_outside(*recorder, CallKind::autograd_function, "",
                       [&] { return PyObject_Call(PyTuple_GET_ITEM(self, 1), call[0], or_null(call[1])); });
  });
}
PyMethodDef unrecorded_def = {"unrecorded", as_c_function(unrecorded_slot), METH_FASTCALL, nullptr};

// Torch's own are what its functions are made of, but for those that talk between processes and devices.
bool is_recorded_through(nb::handle cls) {
  static auto* const known = new WeakTable<bool>();
  if (const bool* recorded = known->find(cls.ptr())) return *recorded;
  const std::string module = text_of(cls.attr("__module__"));
  return known->insert(cls.ptr(), module.starts_with("torch.") && !module.starts_with("torch.distributed.") &&
                                      !module.starts_with("torch.nn.parallel."));
}

}  // namespace

void patch_autograd_functions(Patches& patches) {
  nb::object home = nb::module_::import_("torch.autograd.function");
  nb::object base = home.attr("Function");
  nb::object no_setup = nb::getattr(base, "setup_context", nb::none());
  std::unordered_set<PyObject*> done;
  std::vector<nb::object> pending{base};
  static PyObject* const subclasses = PyUnicode_InternFromString("__subclasses__");
  while (!pending.empty()) {  // over two hundred in a process with torch
    nb::object cls = std::move(pending.back());
    pending.pop_back();
    if (reinterpret_cast<PyTypeObject*>(cls.ptr())->tp_subclasses) {  // null for a class that never had any: most
      nb::object below = checked(PyObject_CallMethodNoArgs(cls.ptr(), subclasses));
      for (nb::handle sub : below) pending.push_back(nb::borrow(sub));
    }
    if (cls.is(base) || is_recorded_through(cls)) continue;
    nb::object own = cls.attr("__dict__");
    const bool sets_up = !no_setup.is_none() && !nb::object(cls.attr("setup_context")).is(no_setup);
    for (const char* name : {"forward", "setup_context"}) {
      if (PyMapping_HasKeyString(own.ptr(), name) != 1) continue;
      nb::object function = cls.attr(name);
      if (!PyFunction_Check(function.ptr()) || !done.insert(function.ptr()).second) continue;
      if (name[0] == 'f')
        replace_code(patches, function, &function_forward_def, sets_up ? cls : nb::object(nb::none()));
      else
        replace_code(patches, function, &unrecorded_def);
    }
  }
}

}  // namespace modulize
