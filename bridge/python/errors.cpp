#include "bridge/python/errors.h"

#include <iterator>

namespace modulize {

namespace {

// The Python classes, by ErrorCode. Owned for the life of the process, as exceptions may outlive the module.
PyObject* g_classes[] = {
#define MODULIZE_ERROR(name, parent, text) nullptr,
#include "support/errors.def"
#undef MODULIZE_ERROR
};

PyObject* class_of(ErrorCode code) {
  PyObject* const type = g_classes[static_cast<std::size_t>(code)];
  return type ? type : PyExc_RuntimeError;
}

// The class named by an entry's `parent`: an earlier entry, or a builtin exception.
PyObject* parent_class(std::string_view parent) {
  for (std::size_t i = 0; i < std::size(g_classes); ++i)
    if (g_classes[i] && error_name(static_cast<ErrorCode>(i)) == parent) return g_classes[i];
  return PyExc_RuntimeError;
}

}  // namespace

void bind_errors(nb::module_& m) {
  const struct {
    ErrorCode code;
    const char *name, *parent, *doc;
  } entries[] = {
#define MODULIZE_ERROR(name, parent, text) {ErrorCode::name, #name, #parent, text},
#include "support/errors.def"
#undef MODULIZE_ERROR
  };
  for (const auto& entry : entries) {
    PyObject*& slot = g_classes[static_cast<std::size_t>(entry.code)];
    if (!slot) {
      const std::string qualified = std::string("modulize.") + entry.name;
      slot = PyErr_NewExceptionWithDoc(qualified.c_str(), entry.doc, parent_class(entry.parent), nullptr);
      if (!slot) throw nb::python_error();
    }
    m.attr(entry.name) = nb::borrow(slot);
  }
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const Error& error) {
      set_error(error);
    }
  });
}

bool is_error(const nb::python_error& error, ErrorCode code) { return error.type().is(nb::handle(class_of(code))); }

bool is_own(nb::python_error& error) { return error.matches(class_of(ErrorCode::ModulizeError)); }

void (*error_listener)(const Error& error) = nullptr;

void set_error(const Error& error) {
  if (error_listener) error_listener(error);
  PyErr_SetString(class_of(error.code()), error.what());
}

bool is_fatal(nb::python_error& error) {
  if (!error.matches(PyExc_Exception) || error.matches(PyExc_MemoryError)) return true;
  PyObject* const torch = PyDict_GetItemString(PyImport_GetModuleDict(), "torch");
  const nb::object out_of_memory = torch ? nb::getattr(nb::handle(torch), "OutOfMemoryError", nb::none()) : nb::none();
  return !out_of_memory.is_none() && error.matches(out_of_memory);
}

}  // namespace modulize
