#include "bridge/values/module_scan.h"

#include <algorithm>
#include <string_view>

#include "bridge/python/errors.h"
#include "bridge/python/weak_table.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

PyObject* interned(const char* text) { return PyUnicode_InternFromString(text); }

}  // namespace

bool is_bookkeeping(PyObject* name) {
  static PyObject* const names = [] {
    nb::object module = nb::module_::import_("torch.nn").attr("Module")();
    nb::object set = nb::steal(PySet_New(nb::object(module.attr("__dict__")).ptr()));
    return set.release().ptr();
  }();
  return PySet_Contains(names, name) == 1;
}

bool is_registry(PyObject* name) {
  if (!is_bookkeeping(name)) return false;
  for (const char* parts : {"_parameters", "_buffers", "_modules"})
    if (PyUnicode_CompareWithASCIIString(name, parts) == 0) return false;
  return true;
}

namespace {

/// False for the types that most attributes have, without walking their bases.
bool may_be_tensor(PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  return !(type == &PyDict_Type || type == &PyBool_Type || type == &PyLong_Type || type == &PyTuple_Type ||
           type == &PyUnicode_Type || type == &PyFloat_Type || type == &PySet_Type || type == &PyODict_Type ||
           value == Py_None);
}

bool looks_like_ours(PyObject* name) {
  return PyUnicode_Check(name) && PyUnicode_GET_LENGTH(name) > 7 && PyUnicode_READ_CHAR(name, 0) == 'm' &&
         nb::cast<std::string>(nb::handle(name)).starts_with("module_");
}

/// Names of a class's own and inherited attributes that begin with "module_".
const std::vector<std::string>& class_names_like_ours(PyTypeObject* type) {
  static auto* const known = new WeakTable<std::vector<std::string>>();
  PyObject* const key_type = reinterpret_cast<PyObject*>(type);
  if (const std::vector<std::string>* names = known->find(key_type)) return *names;
  std::vector<std::string> names;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); ++i) {
    PyObject* dict = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(type->tp_mro, i))->tp_dict;
    PyObject *key, *value;
    if (!dict) continue;
    for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
      if (looks_like_ours(key)) names.push_back(nb::cast<std::string>(nb::handle(key)));
  }
  return known->insert(key_type, std::move(names));
}

/// The name of a parameter, buffer or child. Throws for one that a path cannot hold; torch refuses most of them itself.
std::string part_name(const std::string& prefix, PyObject* key) {
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, &size) : nullptr;
  const std::string name = text ? std::string(text, static_cast<std::size_t>(size)) : std::string();
  if (!text) PyErr_Clear();
  if (!text || name.empty() || name.find('.') != name.npos)
    throw Error(ErrorCode::UnsupportedError,
                (prefix.empty() ? "the model" : "'" + prefix.substr(0, prefix.size() - 1) + "'") +
                    " has a parameter, buffer or child named " + text_of(nb::steal(PyObject_ASCII(key))) +
                    ": a name must be text in Unicode, not empty and without a dot; rename it");
  return prefix + name;
}

void walk(PyObject* module, const std::string& path, ModuleScan& scan) {
  if (scan.module_index.contains(module)) return;
  scan.module_index.emplace(module, scan.modules.size());
  scan.modules.push_back({module, nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(module))), path});
  static PyObject* const parameters_name = interned("_parameters");
  static PyObject* const buffers_name = interned("_buffers");
  static PyObject* const modules_name = interned("_modules");
  const TorchTypes& torch = TorchTypes::instance();
  PyObject* dict = attribute_dict(module);
  if (!dict) {
    // A ScriptModule keeps its tensors elsewhere; it is a leaf, so only itself matters.
    return;
  }
  const std::string prefix = path.empty() ? std::string() : path + ".";
  const auto name_of = [&](PyObject* key) { return prefix + nb::cast<std::string>(nb::handle(key)); };
  for (PyObject* which : {parameters_name, buffers_name}) {
    PyObject* tensors = PyDict_GetItem(dict, which);
    if (!tensors || !PyDict_Check(tensors)) continue;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(tensors, &at, &key, &value);)
      if (value != Py_None) {
        const std::string name = part_name(prefix, key);
        static PyObject* const lazy = [] {
          PyObject* out = PyObject_GetAttrString(nb::module_::import_("torch.nn.parameter").ptr(), "is_lazy");
          if (!out) PyErr_Clear();
          return out;
        }();
        if (lazy && Py_TYPE(value) != torch.parameter && Py_TYPE(value) != torch.tensor &&
            nb::cast<bool>(nb::handle(lazy)(nb::handle(value))))
          throw Error(
              ErrorCode::UnsupportedError,
              "'" + name + "' is a lazy parameter without a shape: run the model once on an input before preparing it");
        scan.tensors.emplace(value, name);
      }
  }
  PyObject *key, *value;
  for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
    if (may_be_tensor(value) && torch.is_tensor(value) && PyUnicode_Check(key))
      scan.tensors.emplace(value, name_of(key));
    else if (looks_like_ours(key))
      scan.taken.push_back(name_of(key));
  for (const std::string& name : class_names_like_ours(Py_TYPE(module))) scan.taken.push_back(prefix + name);
  PyObject* children = PyDict_GetItem(dict, modules_name);
  if (!children || !PyDict_Check(children)) return;
  for (Py_ssize_t at = 0; PyDict_Next(children, &at, &key, &value);) {
    const std::string inner = part_name(prefix, key);
    if (looks_like_ours(key)) scan.taken.push_back(inner);
    if (value == Py_None || !PyObject_TypeCheck(value, torch.module)) continue;
    if (is_bookkeeping(key))
      throw Error(
          ErrorCode::UnsupportedError,
          "the module '" + inner + "' is hidden by the attribute of that name that every module has: rename it");
    walk(value, inner, scan);
  }
}

}  // namespace

ModuleScan scan_modules(nb::handle root) {
  ModuleScan scan;
  walk(root.ptr(), "", scan);
  return scan;
}

bool is_library_leaf(PyTypeObject* type) {
  static auto* const known = new WeakTable<bool>();
  if (const bool* leaf = known->find(reinterpret_cast<PyObject*>(type))) return *leaf;
  nb::object module = nb::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__module__"));
  if (!module.is_valid()) nb::raise_python_error();
  const std::string name = PyUnicode_Check(module.ptr()) ? nb::cast<std::string>(module) : std::string();
  const auto inside = [&](const char* package) {
    const std::string p = package;
    return name == p || name.starts_with(p + ".");
  };
  const bool leaf = (inside("torch.nn") || inside("torch.ao.nn") || inside("torch.jit")) &&
                    !PyType_IsSubtype(type, TorchTypes::instance().sequential);
  return known->insert(reinterpret_cast<PyObject*>(type), leaf);
}

std::string class_name(PyTypeObject* type) {
  static auto* const known = new WeakTable<std::string>();
  nb::handle cls(reinterpret_cast<PyObject*>(type));
  if (const std::string* name = known->find(cls.ptr())) return *name;
  std::string module = text_of(cls.attr("__module__"));
  const std::string name = text_of(cls.attr("__qualname__"));
  if (module.starts_with("torch.nn.")) {
    nb::object torch_nn = nb::module_::import_("torch.nn");
    if (nb::hasattr(torch_nn, name.c_str()) && torch_nn.attr(name.c_str()).ptr() == cls.ptr()) module = "torch.nn";
  }
  return known->insert(cls.ptr(), module + "." + name);
}

PyObject* attribute_dict(PyObject* object) {
  PyObject** slot = _PyObject_GetDictPtr(object);
  return slot ? *slot : nullptr;
}

std::string full_name(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

namespace {

// Hooks that only look on, unless forward asks them to collect what it then returns itself: they run while the capture
// does, and the prepared model has no use for them.
bool only_looks_on(PyObject* hook) {
  static constexpr std::string_view kModules[] = {"transformers.utils.output_capturing"};
  if (!PyFunction_Check(hook)) return false;
  PyObject* name = PyFunction_GetModule(hook);
  if (!name || !PyUnicode_Check(name)) return false;
  const std::string text = nb::cast<std::string>(nb::handle(name));
  return std::find(std::begin(kModules), std::end(kModules), text) != std::end(kModules);
}

}  // namespace

bool has_hooks(PyObject* module) {
  PyObject** slot = _PyObject_GetDictPtr(module);
  if (!slot || !*slot) return false;
  static PyObject* const forward = PyUnicode_InternFromString("_forward_hooks");
  static PyObject* const pre = PyUnicode_InternFromString("_forward_pre_hooks");
  for (PyObject* key : {forward, pre}) {
    PyObject* hooks = PyDict_GetItem(*slot, key);
    if (!hooks || !PyDict_Check(hooks)) continue;
    PyObject *name, *hook;
    for (Py_ssize_t at = 0; PyDict_Next(hooks, &at, &name, &hook);)
      if (!only_looks_on(hook)) return true;
  }
  return false;
}

bool asks_for_function_modes(PyTypeObject* type) {
  static auto* const known = new WeakTable<bool>();
  PyObject* const key = reinterpret_cast<PyObject*>(type);
  if (const bool* asks = known->find(key)) return *asks;
  const nb::object forward = nb::getattr(nb::handle(key), "forward", nb::none());
  bool asks = false;
  if (PyFunction_Check(forward.ptr())) {
    const nb::object names = forward.attr("__code__").attr("co_names");
    for (nb::handle name : names) asks |= text_of(name) == "has_torch_function";
  }
  return known->insert(key, asks);
}

}  // namespace modulize
