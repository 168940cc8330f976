#include "bridge/intercept/transforms.h"

#include <string>

#include "bridge/boundary/whole.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/modules.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"
#include "ir/runtime_calls.h"

namespace modulize {

namespace {

// `self` is (implementation, clone, a name). The call becomes one node, which `begin(recorder, node, name)` starts.
template <class Begin>
PyObject* whole_call(CallKind kind, PyObject* self, PyObject* const* call, Py_ssize_t nargs, Begin&& begin) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *clone = PyTuple_GET_ITEM(self, 1), *args = call[0], *kwargs = or_null(call[1]);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(clone, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    const std::string name = text_of(PyTuple_GET_ITEM(self, 2));
    return record_whole(
        *recorder, kind, name, args, kwargs,
        [&](Node& node) {
          begin(*recorder, node, name);
          add_arguments(*recorder, args, 0, kwargs, node);
        },
        [&] { return PyObject_Call(clone, args, kwargs); });
  });
}

// The name is that of the transform.
PyObject* transform_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return whole_call(CallKind::transform, self, call, nargs,
                    [](Recorder& recorder, Node& node, const std::string& transform) {
                      node.target = transform == "vmap" ? kVmap : kGradient;
                      if (transform != "vmap") node.args.push_back(Value::string(transform));
                      note_kept(recorder, transform, "a function transform of torch.func");
                    });
}
PyMethodDef transform_def = {"transform", as_c_function(transform_slot), METH_FASTCALL, nullptr};

// The same without a word in the report: torch's own functions that its function mode does not see, by name.
PyObject* setting_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  return whole_call(CallKind::setting, self, call, nargs,
                    [](Recorder&, Node& node, const std::string& name) { node.target = name; });
}
PyMethodDef setting_def = {"setting", as_c_function(setting_slot), METH_FASTCALL, nullptr};

}  // namespace

void patch_transforms(Patches& patches) {
  constexpr const char* kTransforms[][3] = {
      {"torch._functorch.vmap", "vmap_impl", "vmap"},
      {"torch._functorch.eager_transforms", "grad_impl", "grad"},
      {"torch._functorch.eager_transforms", "grad_and_value_impl", "grad_and_value"},
  };
  PyObject* modules = PyImport_GetModuleDict();
  for (const auto& [home, name, ours] : kTransforms) {
    PyObject* module = PyDict_GetItemString(modules, home);
    if (!module || !nb::hasattr(module, name)) continue;  // not in use, or of another torch
    nb::object function = nb::handle(module).attr(name);
    if (PyFunction_Check(function.ptr())) replace_code(patches, function, &transform_def, nb::str(ours));
  }
}

void patch_settings(Patches& patches) {
  constexpr const char* kSettings[][3] = {
      {"torch.random", "manual_seed", "torch.manual_seed"},
      {"torch.random", "set_rng_state", "torch.set_rng_state"},
      {"torch.random", "get_rng_state", "torch.get_rng_state"},
      {"torch", "set_default_dtype", "torch.set_default_dtype"},
  };
  PyObject* modules = PyImport_GetModuleDict();
  for (const auto& [home, name, function_name] : kSettings) {
    PyObject* module = PyDict_GetItemString(modules, home);
    nb::object function = module ? nb::getattr(nb::handle(module), name, nb::none()) : nb::none();
    if (PyFunction_Check(function.ptr())) replace_code(patches, function, &setting_def, nb::str(function_name));
  }
}

}  // namespace modulize
