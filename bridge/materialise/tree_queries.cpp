#include "bridge/materialise/tree_queries.h"

#include <charconv>

#include "bridge/materialise/module_types.h"
#include "ir/namer.h"

namespace modulize {

namespace {

// What `read` yields, or null with the error dropped: a property of the user's class may raise anything.
nb::object try_read(PyObject* value) {
  if (!value) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) throw nb::python_error();
    PyErr_Clear();
    return {};
  }
  return nb::steal(value);
}

bool is_attribute(PyObject* root, std::string_view path) {
  const auto [parent_path, name] = split_path(path);
  PyObject* const module = find_module(root, path);
  PyObject* const parent = find_module(root, parent_path);
  if (!module || !parent) return true;
  return try_read(PyObject_GetAttr(parent, make_text(name).ptr())).ptr() == module;
}

bool is_index(PyObject* root, std::string_view path) {
  const auto [parent_path, name] = split_path(path);
  long index = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc() || end != name.data() + name.size() || index < 0) return false;
  PyObject* const module = find_module(root, path);
  PyObject* const parent = find_module(root, parent_path);
  const ModuleTypes& types = ModuleTypes::instance();
  if (!module || !parent) return false;
  if (!PyObject_TypeCheck(parent, types.sequential) && !PyObject_TypeCheck(parent, types.module_list)) return false;
  const nb::object number = checked(PyLong_FromLong(index));
  return try_read(PyObject_GetItem(parent, number.ptr())).ptr() == module;
}

}  // namespace

PyObject* find_module(PyObject* root, std::string_view path) {
  const ModuleTypes& types = ModuleTypes::instance();
  PyObject* module = root;
  while (!path.empty()) {
    const std::size_t dot = path.find('.');
    const std::string_view name = path.substr(0, dot);
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
    // A ScriptModule keeps its children elsewhere; the generated source reads them through `_modules` as well.
    const nb::object dict = instance_dict(module);
    PyObject* const modules = dict_get(dict.ptr(), types.modules);
    if (!modules) return nullptr;
    const nb::object key = make_text(name);
    if (PyDict_Check(modules)) {
      module = dict_get(modules, key.ptr());
      if (!module || !types.is_module(module)) return nullptr;
    } else {
      const nb::object child = try_read(PyObject_GetItem(modules, key.ptr()));
      if (!child.is_valid() || !types.is_module(child.ptr())) return nullptr;
      module = child.ptr();  // the tree holds it
    }
  }
  return module;
}

TreeQueries tree_queries(nb::handle root, bool for_reading) {
  TreeQueries queries;
  PyObject* const top = root.ptr();
  queries.is_module = [top](std::string_view path) { return find_module(top, path) != nullptr; };
  if (for_reading) {
    queries.is_attribute = [top](std::string_view path) { return is_attribute(top, path); };
    queries.is_index = [top](std::string_view path) { return is_index(top, path); };
  }
  return queries;
}

}  // namespace modulize
