#include "bridge/intercept/device_types.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/checks.h"

namespace modulize {

namespace {

// --- what stands for the type of the meta device -------------------------------------------------------------------

// A text, `cpu`, that notes what it is compared with.
PyObject* text_compare(PyObject* self, PyObject* other, int op) {
  nb::object answer = nb::steal(PyUnicode_Type.tp_richcompare(self, other, op));
  Recorder* const recorder =
      PyBool_Check(answer.ptr()) && (op == Py_EQ || op == Py_NE) ? Recorder::recording() : nullptr;
  if (!recorder) return answer.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const NodeId type = recorder->origins().of_object(self);
    if (type != kNoNode) {
      const NodeId equal = recorder->add_function(op == Py_EQ ? "operator.eq" : "operator.ne",
                                                  {Value::node(type), recorder->to_value(other)}, ValueType::number);
      add_check_here(*recorder, equal, Value::boolean(answer.ptr() == Py_True), "a decision on the device");
    }
    return answer.release().ptr();
  });
}

PyObject* text_type() {
  static PyObject* const type = [] {
    PyType_Slot slots[] = {{Py_tp_richcompare, reinterpret_cast<void*>(text_compare)},
                           {Py_tp_hash, reinterpret_cast<void*>(PyUnicode_Type.tp_hash)},
                           {0, nullptr}};
    PyType_Spec spec = {"modulize._core.DeviceType", 0, 0, Py_TPFLAGS_DEFAULT, slots};
    const nb::object bases = nb::make_tuple(nb::handle(reinterpret_cast<PyObject*>(&PyUnicode_Type)));
    return checked(PyType_FromSpecWithBases(&spec, bases.ptr())).release().ptr();
  }();
  return type;
}

// --- torch.device.type ---------------------------------------------------------------------------------------------

PyObject* original_device_type = nullptr;  // the getter's descriptor; immortal

PyObject* device_type_get(PyObject* self, void*) {
  nb::object text =
      nb::steal(Py_TYPE(original_device_type)
                    ->tp_descr_get(original_device_type, self, reinterpret_cast<PyObject*>(Py_TYPE(self))));
  Recorder* const recorder = text.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder) return text.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const NodeId device = recorder->origins().of_object(self);
    if (device == kNoNode) return text.release().ptr();
    if (PyUnicode_CompareWithASCIIString(text.ptr(), "meta") == 0) {
      text = checked(PyObject_CallOneArg(text_type(), nb::str("cpu").ptr()));
      recorder->capture().on_meta.as_on_cpu.push_back(recorder->places().here());
    }
    const NodeId type =
        recorder->add_function("builtins.getattr", {Value::node(device), Value::string("type")}, ValueType::other);
    recorder->origins().note(text.ptr(), type);
    return text.release().ptr();
  });
}
PyGetSetDef device_type_def = {"type", device_type_get, nullptr, nullptr, nullptr};

}  // namespace

void patch_device_type(Patches& patches) {
  PyTypeObject* const type = TorchTypes::instance().device;
  if (!original_device_type) {
    original_device_type = PyDict_GetItemString(type->tp_dict, "type");
    if (!original_device_type || !Py_TYPE(original_device_type)->tp_descr_get) return;
    Py_INCREF(original_device_type);
  }
  const nb::object getter = checked(PyDescr_NewGetSet(type, &device_type_def));
  patches.set_class_entry(type, "type", getter);
}

}  // namespace modulize
