#include "bridge/intercept/type_of.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

// A symbol stands for a tensor; where it does not, the call of the prepared model raises.
PyObject* type_slot(PyObject* type, PyObject* args, PyObject*) {
  PyObject* object = PyTuple_GET_SIZE(args) == 1 ? PyTuple_GET_ITEM(args, 0) : nullptr;
  Recorder* recorder = Recorder::recording();
  if (!object || !is_proxy(object) || !recorder) return PyObject_Call(type, args, nullptr);
  return guarded<PyObject*>(nullptr, [&] {
    nb::object tensor = nb::borrow(reinterpret_cast<PyObject*>(TorchTypes::instance().tensor));
    const NodeId asked = recorder->add_function(
        "builtins.isinstance", {recorder->to_value(object), recorder->to_value(tensor.ptr())}, ValueType::number);
    add_check_here(*recorder, asked, Value::boolean(true), "whether a value is a tensor, as type() is asked");
    return tensor.release().ptr();
  });
}
PyMethodDef type_def = {"type", as_c_function(type_slot), METH_VARARGS, nullptr};

}  // namespace

void patch_type(Patches& patches, const std::vector<PyObject*>& globals) {
  nb::str name("type");
  for (PyObject* variables : globals) {
    if (PyDict_GetItem(variables, name.ptr())) continue;  // the user's own
    static PyObject* const replacement = [] {
      nb::handle type(reinterpret_cast<PyObject*>(&PyType_Type));
      return nb::object(nb::module_::import_("modulize._engine").attr("stand_in")(type, c_function(&type_def, type)))
          .release()
          .ptr();
    }();
    patches.set_item(nb::handle(variables), name, nb::handle(replacement));
  }
}

}  // namespace modulize
