#include "bridge/intercept/wrapped.h"

#include "bridge/boundary/call_outside.h"
#include "bridge/boundary/opaque_call.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/calls.h"
#include "bridge/record/proxy.h"

namespace modulize {

namespace {

// --- functions that stay one node ---------------------------------------------------------------------------

bool any_proxy(PyObject* args, PyObject* kwargs, Recorder& recorder) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    if (has_origin(recorder, PyTuple_GET_ITEM(args, i))) return true;
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      if (has_origin(recorder, value)) return true;
  return false;
}

// `self` is the function: recorded as one node when an argument is a recorded value.
PyObject* one_node_slot(PyObject* function, PyObject* args, PyObject* kwargs) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(function, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    if (!any_proxy(args, kwargs, *recorder)) return PyObject_Call(function, args, kwargs);
    return opaque_call(*recorder, CallKind::wrapped_function, function, args, kwargs,
                       "under torch.fx.wrap: give example_inputs to trace through it");
  });
}
PyMethodDef one_node_def = {"one_node", as_c_function(one_node_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// A method under torch.fx.wrap: `self` is (original, name); the first argument is the instance.
PyObject* wrapped_method_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* original = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(original, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    if (!any_proxy(args, kwargs, *recorder)) return PyObject_Call(original, args, kwargs);
    CallName name{CallForm::method, nb::cast<std::string>(nb::handle(PyTuple_GET_ITEM(self, 1))), false};
    return make_proxy(*recorder, add_call(*recorder, original, name, args, kwargs));
  });
}
PyMethodDef wrapped_method_def = {"wrapped_method", as_c_function(wrapped_method_slot), METH_VARARGS | METH_KEYWORDS,
                                  nullptr};

}  // namespace

void patch_wrapped(Patches& patches) {
  const nb::handle tracing = TorchTypes::instance().fx_tracing;
  nb::object builtins = nb::module_::import_("builtins").attr("__dict__");
  const auto patch = [&](nb::handle frame, nb::handle name) {
    PyObject* original = PyDict_GetItem(frame.ptr(), name.ptr());
    if (!original) original = PyDict_GetItem(builtins.ptr(), name.ptr());
    if (!original) return;  // the module that asked for it never defined it
    patches.set_item(frame, name, c_function(&one_node_def, nb::handle(original)));
  };
  nb::object functions = tracing.attr("_wrapped_fns_to_patch");
  if (PyDict_Check(functions.ptr())) {
    nb::list items = nb::steal<nb::list>(PyDict_Items(functions.ptr()));  // {(id, name): globals}
    for (nb::handle item : items) patch(item[1], item[0][1]);
  } else {
    for (nb::handle item : functions) patch(item[0], item[1]);  // [(globals, name)] before torch 1.12
  }
  for (nb::handle item : tracing.attr("_wrapped_methods_to_patch")) {
    nb::object cls = item[0], name = item[1];
    nb::object original = nb::steal(PyObject_GetAttr(cls.ptr(), name.ptr()));
    if (!original.is_valid()) nb::raise_python_error();
    nb::object function = c_function(&wrapped_method_def, nb::make_tuple(original, name));
    nb::object method = nb::steal(PyInstanceMethod_New(function.ptr()));
    patches.set_attribute(cls, nb::cast<std::string>(name).c_str(), method);
  }
}

}  // namespace modulize
