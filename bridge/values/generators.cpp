#include "bridge/values/generators.h"

#include <string_view>

namespace modulize {

namespace {

PyTypeObject* torch_generator() {
  static auto* const type =
      reinterpret_cast<PyTypeObject*>(nb::object(nb::module_::import_("torch").attr("Generator")).release().ptr());
  return type;
}

PyTypeObject* python_generator() {
  static auto* const type =
      reinterpret_cast<PyTypeObject*>(nb::object(nb::module_::import_("_random").attr("Random")).release().ptr());
  return type;
}

bool is_numpy_generator(PyTypeObject* type) {
  const std::string_view name = type->tp_name;
  return name == "numpy.random._generator.Generator" || name == "numpy.random.mtrand.RandomState";
}

nb::object numpy_bits(nb::handle generator) {
  return nb::hasattr(generator, "bit_generator") ? nb::object(generator.attr("bit_generator"))
                                                 : nb::object(generator.attr("_bit_generator"));
}

}  // namespace

nb::object generator_state(nb::handle generator) {
  PyTypeObject* const type = Py_TYPE(generator.ptr());
  if (PyType_IsSubtype(type, torch_generator())) return generator.attr("get_state")();
  if (PyType_IsSubtype(type, python_generator())) return generator.attr("getstate")();
  return numpy_bits(generator).attr("state");
}

void set_generator_state(nb::handle generator, const nb::object& state) {
  PyTypeObject* const type = Py_TYPE(generator.ptr());
  if (PyType_IsSubtype(type, torch_generator()))
    generator.attr("set_state")(state);
  else if (PyType_IsSubtype(type, python_generator()))
    generator.attr("setstate")(state);
  else
    numpy_bits(generator).attr("state") = state;
}

bool is_generator(PyObject* object) {
  PyTypeObject* const type = Py_TYPE(object);
  if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE) && type != torch_generator() && !is_numpy_generator(type)) return false;
  return PyType_IsSubtype(type, torch_generator()) || PyType_IsSubtype(type, python_generator()) ||
         is_numpy_generator(type);
}

nb::object copy_generator(nb::handle generator) {
  if (!PyType_IsSubtype(Py_TYPE(generator.ptr()), torch_generator()))
    return nb::module_::import_("copy").attr("deepcopy")(generator);
  const nb::handle type(reinterpret_cast<PyObject*>(torch_generator()));
  nb::object copy = type(generator.attr("device"));
  set_generator_state(copy, generator_state(generator));
  return copy;
}

}  // namespace modulize
