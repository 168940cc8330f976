#include "bridge/world/module_attributes.h"

#include "bridge/python/errors.h"

namespace modulize {

namespace {

/// Another number whenever a dict was written to. Before 3.12, where it is public and every write counts.
std::uint64_t version_of(PyObject* dict) {
#if PY_VERSION_HEX < 0x030C0000
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#else
  (void)dict;
  return 0;
#endif
}

}  // namespace

ModuleAttributes::ModuleAttributes(const ModuleScan& scan) {
  dicts_.reserve(scan.modules.size() * 4);
  for (const ModuleScan::Entry& entry : scan.modules) {
    PyObject* dict = attribute_dict(entry.module);
    if (!dict) continue;
    const auto save = [&](PyObject* live, PyObject* attribute) {
      dicts_.push_back(
          {nb::borrow(live), nb::steal(PyDict_Copy(live)), &entry.path, nb::borrow(attribute), version_of(live)});
    };
    classes_.emplace_back(entry.module, nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(entry.module))));
    save(dict, nullptr);
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
      if (PyDict_CheckExact(value) || PyODict_CheckExact(value)) {
        if (PyDict_GET_SIZE(value) > 0 || !is_registry(key))
          save(value, is_bookkeeping(key) ? nullptr : key);
        else
          empty_.push_back(nb::borrow(value));
      } else if (PyAnySet_CheckExact(value) || (PyList_CheckExact(value) && !is_registry(key))) {
        containers_.push_back({nb::borrow(value), nb::steal(PySequence_List(value)), &entry.path,
                               nb::cast<std::string>(nb::handle(key))});
      }
  }
}

std::vector<std::string> ModuleAttributes::restore() {
  std::vector<std::string> changed;
  for (const auto& [module, type] : classes_) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(module)) == type.ptr()) continue;
    if (PyObject_SetAttrString(module, "__class__", type.ptr()) < 0) nb::raise_python_error();
    changed.push_back("__class__");
  }
  for (Dict& saved : dicts_) {
    if (saved.version && saved.version == version_of(saved.live.ptr())) continue;
    PyObject *key, *value;
    bool differs = PyDict_GET_SIZE(saved.live.ptr()) != PyDict_GET_SIZE(saved.copy.ptr());
    for (Py_ssize_t at = 0; PyDict_Next(saved.live.ptr(), &at, &key, &value);) {
      if (PyDict_GetItem(saved.copy.ptr(), key) == value) continue;
      differs = true;
      PyObject* const name = saved.attribute.is_valid() ? saved.attribute.ptr() : key;
      changed.push_back((saved.path->empty() ? "" : *saved.path + ".") + text_of(nb::handle(name)));
    }
    if (!differs) continue;
    // Emptied and filled again, so that the order of keys comes back too.
    if (PyODict_CheckExact(saved.live.ptr())) {  // has an order of its own beside the dict's
      saved.live.attr("clear")();
      saved.live.attr("update")(saved.copy);
      continue;
    }
    PyDict_Clear(saved.live.ptr());
    if (PyDict_Update(saved.live.ptr(), saved.copy.ptr()) < 0) nb::raise_python_error();
  }
  for (nb::object& registry : empty_)
    if (PyDict_GET_SIZE(registry.ptr()) > 0) registry.attr("clear")();
  for (Container& saved : containers_) {
    nb::object now = nb::steal(PySequence_List(saved.live.ptr()));
    if (!now.is_valid()) nb::raise_python_error();
    bool differs = PyList_GET_SIZE(now.ptr()) != PyList_GET_SIZE(saved.copy.ptr());
    for (Py_ssize_t i = 0; !differs && i < PyList_GET_SIZE(now.ptr()); ++i)
      differs = PyList_GET_ITEM(now.ptr(), i) != PyList_GET_ITEM(saved.copy.ptr(), i);
    if (!differs) continue;
    changed.push_back((saved.path->empty() ? "" : *saved.path + ".") + saved.name);
    saved.live.attr("clear")();
    saved.live.attr(PyList_Check(saved.live.ptr()) ? "extend" : "update")(saved.copy);
  }
  return changed;
}

}  // namespace modulize
