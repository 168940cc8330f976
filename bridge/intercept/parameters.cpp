#include "bridge/intercept/parameters.h"

#include "bridge/boundary/whole.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"

namespace modulize {

namespace {

// `self` is (Parameter.__new__, clone).
PyObject* parameter_slot(PyObject* self, PyObject* const* call, Py_ssize_t nargs) {
  if (!is_args_and_kwargs(nargs)) return nullptr;
  PyObject *clone = PyTuple_GET_ITEM(self, 1), *args = call[0], *kwargs = or_null(call[1]);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(clone, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    PyObject* data = PyTuple_GET_SIZE(args) > 1 ? PyTuple_GET_ITEM(args, 1) : nullptr;
    if (!data && kwargs) data = PyDict_GetItemString(kwargs, "data");
    const bool is_plain = PyTuple_GET_SIZE(args) > 0 &&
                          PyTuple_GET_ITEM(args, 0) == reinterpret_cast<PyObject*>(TorchTypes::instance().parameter);
    if (!data || !is_plain || recorder->node_of(data) == kNoNode) return PyObject_Call(clone, args, kwargs);
    const NodeId first = next_node(*recorder);
    Node node;
    node.op = Opcode::call_function;
    node.target = "torch.nn.Parameter";
    add_arguments(*recorder, args, 1, kwargs, node);
    return record_whole(*recorder, first, std::move(node), [&] { return PyObject_Call(clone, args, kwargs); });
  });
}
PyMethodDef parameter_def = {"__new__", as_c_function(parameter_slot), METH_FASTCALL, nullptr};

}  // namespace

void patch_parameter(Patches& patches) {
  nb::handle type(reinterpret_cast<PyObject*>(TorchTypes::instance().parameter));
  nb::object make = type.attr("__new__");
  if (PyFunction_Check(make.ptr())) replace_code(patches, make, &parameter_def);
}

}  // namespace modulize
