#include <cstring>

#include "bridge/python/python.h"

namespace modulize {

namespace {

// What a person sees of the object in the text form: no address, so that the text is the same in every process.
std::string label_of(nb::handle object) {
  const char* type = Py_TYPE(object.ptr())->tp_name;
  if (const char* dot = std::strrchr(type, '.')) type = dot + 1;
  PyObject* name = PyObject_GetAttrString(object.ptr(), "__qualname__");
  if (!name) {
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw nb::python_error();
    PyErr_Clear();
    return std::string("<") + type + ">";
  }
  const nb::object owner = nb::steal(name);
  if (!PyUnicode_Check(name)) return std::string("<") + type + ">";
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name, &size);
  if (!text) throw nb::python_error();
  return std::string("<") + type + " " + std::string(text, size) + ">";
}

}  // namespace

ObjectId ObjectTable::add(nb::handle object) {
  const auto [it, fresh] = index_.emplace(object.ptr(), static_cast<ObjectId>(objects_.size()));
  if (fresh) objects_.push_back(nb::borrow(object));
  return it->second;
}

Value ObjectTable::value(nb::handle object) {
  const ObjectId id = add(object);
  return Value::object(id, label_of(object));
}

}  // namespace modulize
