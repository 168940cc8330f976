#include "bridge/intercept/dtypes.h"

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"

namespace modulize {

// --- comparisons -----------------------------------------------------------------------------------

namespace {

int comparisons_seen = 0;  // how many DtypeComparisons live
richcmpfunc original_compare = nullptr;

// object's own comparison asks this slot once more where it is asked for !=.
PyObject* compare_slot(PyObject* a, PyObject* b, int op) {
  Recorder* recorder = Py_TYPE(a) == Py_TYPE(b) && (op == Py_EQ || op == Py_NE) ? Recorder::recording() : nullptr;
  if (!recorder) return original_compare(a, b, op);
  return guarded<PyObject*>(nullptr, [&] {
    recorder->dtypes().compared(a, b);
    return PyBool_FromLong((a == b) == (op == Py_EQ));
  });
}

}  // namespace

DtypeComparisons::DtypeComparisons() {
  PyTypeObject* const type = TorchTypes::instance().dtype;
  if (comparisons_seen++ > 0) return;
  original_compare = type->tp_richcompare;
  type->tp_richcompare = compare_slot;
}

DtypeComparisons::~DtypeComparisons() {
  if (--comparisons_seen == 0) TorchTypes::instance().dtype->tp_richcompare = original_compare;
}

// --- properties ------------------------------------------------------------------------------------

namespace {

struct Property {
  const char* name;
  PyObject* original = nullptr;  // the getter's descriptor; immortal
};
Property properties[] = {{"is_floating_point"}, {"is_complex"}};

PyObject* property_get(PyObject* self, void* closure) {
  const auto& property = *static_cast<const Property*>(closure);
  nb::object answer = nb::steal(
      Py_TYPE(property.original)->tp_descr_get(property.original, self, reinterpret_cast<PyObject*>(Py_TYPE(self))));
  Recorder* recorder = answer.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder) return answer.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    recorder->dtypes().asked(self, property.name, answer.is(nb::handle(Py_True)));
    return answer.release().ptr();
  });
}
PyGetSetDef property_defs[] = {
    {properties[0].name, property_get, nullptr, nullptr, &properties[0]},
    {properties[1].name, property_get, nullptr, nullptr, &properties[1]},
};

}  // namespace

void patch_dtype_properties(Patches& patches) {
  PyTypeObject* const type = TorchTypes::instance().dtype;
  for (std::size_t i = 0; i < std::size(properties); ++i) {
    Property& property = properties[i];
    if (!property.original) {
      property.original = PyDict_GetItemString(type->tp_dict, property.name);
      if (!property.original || !Py_TYPE(property.original)->tp_descr_get) return;
      Py_INCREF(property.original);
    }
    patches.set_class_entry(type, property.name, checked(PyDescr_NewGetSet(type, &property_defs[i])));
  }
}

// --- limits ----------------------------------------------------------------------------------------

namespace {

// `self` is torch.finfo or torch.iinfo.
PyObject* limits_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  nb::object limits = nb::steal(PyObject_Call(self, args, kwargs));
  Recorder* recorder = limits.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder || PyTuple_GET_SIZE(args) != 1 || kwargs) return limits.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const NodeId dtype = recorder->dtypes().as_argument(PyTuple_GET_ITEM(args, 0));
    if (dtype == kNoNode) return limits.release().ptr();
    const std::string name = "torch." + text_of(nb::handle(self).attr("__name__"));
    const NodeId made = recorder->add_function(name, {Value::node(dtype)}, ValueType::other);
    nb::object traced = nb::module_::import_("types").attr("SimpleNamespace")();
    for (const char* field : {"bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"}) {
      if (!nb::hasattr(limits, field)) continue;
      nb::object value = limits.attr(field);
      if (!PyUnicode_Check(value.ptr())) {
        const NodeId node =
            recorder->add_function("builtins.getattr", {Value::node(made), Value::string(field)}, ValueType::number);
        value = checked(recorder->wrap_result(value.ptr(), node, false));
      }
      traced.attr(field) = value;
    }
    return traced.release().ptr();
  });
}
PyMethodDef limits_def = {"limits", as_c_function(limits_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

}  // namespace

std::vector<std::pair<nb::object, nb::object>> patch_dtype_limits(Patches& patches) {
  std::vector<std::pair<nb::object, nb::object>> replaced;
  nb::module_ torch = nb::module_::import_("torch");
  for (const char* name : {"finfo", "iinfo"}) {
    nb::object original = torch.attr(name);
    nb::object wrapper = checked(PyCFunction_New(&limits_def, original.ptr()));
    patches.set_item(torch.attr("__dict__"), nb::str(name), wrapper);
    replaced.emplace_back(std::move(original), std::move(wrapper));
  }
  return replaced;
}

}  // namespace modulize
