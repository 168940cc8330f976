#include "bridge/materialise/tree_queries.h"

#include <charconv>
#include <map>
#include <memory>

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

/// The child under `name` in `_modules`; null where that is no module. Borrowed: the tree holds it.
PyObject* child_of(PyObject* module, std::string_view name) {
  const ModuleTypes& types = ModuleTypes::instance();
  // A ScriptModule keeps its children elsewhere; the generated source reads them through `_modules` as well.
  const nb::object dict = instance_dict(module);
  PyObject* const modules = dict_get(dict.ptr(), types.modules);
  if (!modules) return nullptr;
  const nb::object key = make_text(name);
  if (PyDict_Check(modules)) {
    PyObject* const child = dict_get(modules, key.ptr());
    return child && types.is_module(child) ? child : nullptr;
  }
  const nb::object child = try_read(PyObject_GetItem(modules, key.ptr()));
  return child.is_valid() && types.is_module(child.ptr()) ? child.ptr() : nullptr;
}

/// The modules of a tree that stays as it is, by path: the generator asks for each several times.
class KnownModules {
 public:
  explicit KnownModules(PyObject* root) : known_{{"", root}} {}

  PyObject* find(std::string_view path) {
    if (const auto it = known_.find(path); it != known_.end()) return it->second;
    const auto [parent_path, name] = split_path(path);
    PyObject* const parent = find(parent_path);
    PyObject* const module = parent ? child_of(parent, name) : nullptr;
    known_.emplace(path, module);
    return module;
  }

 private:
  std::map<std::string, PyObject*, std::less<>> known_;
};

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
  PyObject* module = root;
  while (module && !path.empty()) {
    const std::size_t dot = path.find('.');
    module = child_of(module, path.substr(0, dot));
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return module;
}

TreeQueries tree_queries(nb::handle root, bool for_reading) {
  TreeQueries queries;
  PyObject* const top = root.ptr();
  queries.is_module = [modules = std::make_shared<KnownModules>(top)](std::string_view path) {
    return modules->find(path) != nullptr;
  };
  if (for_reading) {
    queries.is_attribute = [top](std::string_view path) { return is_attribute(top, path); };
    queries.is_index = [top](std::string_view path) { return is_index(top, path); };
  }
  return queries;
}

}  // namespace modulize
