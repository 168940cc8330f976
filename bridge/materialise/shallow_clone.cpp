#include "bridge/materialise/shallow_clone.h"

#include "bridge/materialise/module_types.h"
#include "support/error.h"
#include "support/python_repr.h"

namespace modulize {

namespace {

// Containers inside an attribute are searched for modules this deep.
constexpr int kSearchDepth = 3;

// Null where the value is none of the containers that a model may write to.
nb::object copy_container(PyObject* value, const ModuleTypes& types) {
  PyTypeObject* const type = Py_TYPE(value);
  if (type == &PyDict_Type) return checked(PyDict_Copy(value));
  if (type == &PyList_Type) return checked(PyList_GetSlice(value, 0, PyList_GET_SIZE(value)));
  if (type == &PySet_Type) return checked(PySet_New(value));
  if (type == types.ordered_dict) {
    // Most hook dicts are empty, eleven a module.
    if (PyDict_GET_SIZE(value) == 0) {
      nb::object empty = checked(PyODict_New());
#if PY_VERSION_HEX < 0x030E0000
      // Until something is put in, which tracks a dict again (before 3.14), the collector need not visit it.
      PyObject_GC_UnTrack(empty.ptr());
#endif
      return empty;
    }
    return nb::borrow(value).attr("copy")();
  }
  if (type == types.default_dict || type == types.deque) return nb::borrow(value).attr("copy")();
  return {};
}

// Does object.__new__ alone make a whole instance? Not where a class has __slots__ or a base written in C.
bool is_plain_layout(PyTypeObject* type, const ModuleTypes& types) {
  return type->tp_basicsize == types.module->tp_basicsize && type->tp_itemsize == 0;
}

// Copies what stands in the __slots__ of the clone's class, which may have none where it is no subclass.
void copy_slots(PyObject* from, PyObject* to) {
  const nb::object names = nb::module_::import_("copyreg").attr("_slotnames")(nb::handle((PyObject*)Py_TYPE(to)));
  for (const nb::handle name : names) {
    PyObject* value = PyObject_GetAttr(from, name.ptr());
    if (!value) {
      if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw nb::python_error();
      PyErr_Clear();  // an empty slot
      continue;
    }
    const nb::object owner = nb::steal(value);
    check(PyObject_GenericSetAttr(to, name.ptr(), value));
  }
}

bool may_refer(PyObject* value) {
  PyTypeObject* const type = Py_TYPE(value);
  return !(type == &PyLong_Type || type == &PyBool_Type || type == &PyFloat_Type || type == &PyUnicode_Type ||
           value == Py_None);
}

}  // namespace

nb::object instance_with_dict(PyTypeObject* type, nb::handle dict) {
  const ModuleTypes& types = ModuleTypes::instance();
  PyObject* made;
  if (is_plain_layout(type, types)) {
    made = PyBaseObject_Type.tp_new(type, types.empty_tuple, nullptr);
  } else {
    // The method checks that a class with a C base is not made half.
    made = PyObject_CallMethod(reinterpret_cast<PyObject*>(&PyBaseObject_Type), "__new__", "O", type);
  }
  if (!made) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw nb::python_error();
    PyErr_Clear();
    return {};
  }
  nb::object instance = nb::steal(made);
  // Not PyObject_GenericSetDict, which in CPython 3.13 leaves the values inside of the object in force.
  check(PyObject_GenericSetAttr(made, ModuleTypes::instance().dict, dict.ptr()));
  return instance;
}

nb::object copy_dict_one_level(PyObject* dict) {
  const ModuleTypes& types = ModuleTypes::instance();
  nb::object copy = checked(PyDict_Copy(dict));
  PyObject *key, *value;
  Py_ssize_t position = 0;
  // Setting an existing key while iterating is safe.
  while (PyDict_Next(copy.ptr(), &position, &key, &value)) {
    const nb::object own = copy_container(value, types);
    if (own.is_valid()) check(PyDict_SetItem(copy.ptr(), key, own.ptr()));
  }
  return copy;
}

TreeClone::TreeClone(nb::handle root, const Classes& classes) {
  const ModuleTypes& types = ModuleTypes::instance();
  struct Pending {
    PyObject* module;
    std::string path;
  };
  std::vector<Pending> stack{{root.ptr(), ""}};
  std::vector<Pending> children;
  while (!stack.empty()) {
    const Pending next = std::move(stack.back());
    stack.pop_back();
    if (memo_.count(next.module)) continue;
    nb::object clone = clone_one(next.module, classes, next.path);
    if (!clone.is_valid()) {
      memo_.emplace(next.module, next.module);
      continue;
    }
    memo_.emplace(next.module, clone.ptr());
    const nb::object dict = instance_dict(clone.ptr());
    entries_.push_back({nb::borrow(next.module), std::move(clone), next.path});
    PyObject* modules = dict_get(dict.ptr(), types.modules);
    if (!modules || !PyDict_Check(modules)) continue;
    children.clear();
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(modules, &position, &key, &value)) {
      if (!types.is_module(value) || memo_.count(value)) continue;
      std::string path = next.path.empty() ? std::string() : next.path + ".";
      if (PyUnicode_Check(key)) path += view_text(key);
      children.push_back({value, std::move(path)});
    }
    for (auto it = children.rbegin(); it != children.rend(); ++it) stack.push_back(std::move(*it));
  }
  for (const Entry& entry : entries_) fix_references(entry);
}

// Invalid where the module is to be shared; noted then.
nb::object TreeClone::clone_one(PyObject* original, const Classes& classes, const std::string& path) {
  const ModuleTypes& types = ModuleTypes::instance();
  const auto given = classes.find(original);
  PyTypeObject* const type =
      given == classes.end() ? Py_TYPE(original) : reinterpret_cast<PyTypeObject*>(given->second.ptr());
  const auto share = [&](std::string reason) {
    if (entries_.empty() || given != classes.end())
      throw Error(ErrorCode::UnsupportedError, "cannot prepare a " +
                                                   std::string(entries_.empty() ? "model" : "module") + " of class " +
                                                   std::string(Py_TYPE(original)->tp_name) + ": " + reason);
    shared_.push_back({path, std::move(reason)});
    return nb::object();
  };
  if (PyObject_TypeCheck(original, types.script_module)) return share("a ScriptModule cannot be cloned");
  if (PyObject_TypeCheck(original, types.lazy_mixin) &&
      nb::cast<bool>(nb::borrow(original).attr("has_uninitialized_params")())) {
    throw Error(ErrorCode::UnsupportedError, "the lazy module " + python_repr(std::string_view(path)) + " of class " +
                                                 Py_TYPE(original)->tp_name +
                                                 " has no shapes yet; run the model once before preparing it");
  }
  const nb::object dict = copy_dict_one_level(instance_dict(original).ptr());
  nb::object clone = instance_with_dict(type, dict);
  if (!clone.is_valid()) return share("its class cannot be made without its own __new__");
  if (!is_plain_layout(type, types)) copy_slots(original, clone.ptr());
  return clone;
}

void TreeClone::fix_references(const Entry& entry) {
  const ModuleTypes& types = ModuleTypes::instance();
  const nb::object dict = instance_dict(entry.clone.ptr());
  PyObject* const parameters = dict_get(dict.ptr(), types.parameters);
  PyObject* const buffers = dict_get(dict.ptr(), types.buffers);
  PyObject *key, *value;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict.ptr(), &position, &key, &value)) {
    if (value == parameters || value == buffers || !may_refer(value)) continue;
    const nb::object own = rebound(value, 0);
    if (own.is_valid()) check(PyDict_SetItem(dict.ptr(), key, own.ptr()));
  }
}

// A function with modules in its closure (`lambda x: self.fc(x)`) around their clones.
nb::object TreeClone::rebound_function(PyObject* function, int depth) {
  PyObject* const cells = PyFunction_GetClosure(function);
  const Py_ssize_t count = cells ? PyTuple_GET_SIZE(cells) : 0;
  nb::object own_cells;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* const content = PyCell_GET(PyTuple_GET_ITEM(cells, i));
    if (!content || content == function) continue;
    const nb::object own = rebound(content, depth + 1);
    if (!own.is_valid()) continue;
    if (!own_cells.is_valid()) own_cells = checked(PySequence_List(cells));
    check(PyList_SetItem(own_cells.ptr(), i, checked(PyCell_New(own.ptr())).release().ptr()));
  }
  if (!own_cells.is_valid()) return {};
  nb::object made = checked(PyFunction_New(PyFunction_GET_CODE(function), PyFunction_GET_GLOBALS(function)));
  const nb::object closure = checked(PyList_AsTuple(own_cells.ptr()));
  check(PyFunction_SetClosure(made.ptr(), closure.ptr()));
  if (PyObject* defaults = PyFunction_GET_DEFAULTS(function)) check(PyFunction_SetDefaults(made.ptr(), defaults));
  if (PyObject* keywords = PyFunction_GET_KW_DEFAULTS(function)) {
    const nb::object copy = checked(PyDict_Copy(keywords));
    made.attr("__kwdefaults__") = copy;
  }
  const nb::object from = nb::borrow(function);
  for (const char* name : {"__name__", "__qualname__", "__module__"}) made.attr(name) = from.attr(name);
  made.attr("__dict__").attr("update")(from.attr("__dict__"));
  return made;
}

// The value with every module of the tree replaced by its clone; invalid where nothing is to be replaced.
nb::object TreeClone::rebound(PyObject* value, int depth) {
  if (!may_refer(value)) return {};
  const ModuleTypes& types = ModuleTypes::instance();
  if (PyObject* clone = clone_of(value)) return clone == value ? nb::object() : nb::borrow(clone);
  PyTypeObject* const type = Py_TYPE(value);
  if (type == &PyMethod_Type) {
    PyObject* clone = clone_of(PyMethod_GET_SELF(value));
    if (!clone || clone == PyMethod_GET_SELF(value)) return {};
    return checked(PyMethod_New(PyMethod_GET_FUNCTION(value), clone));
  }
  if (PyWeakref_CheckRefExact(value)) {
    PyObject* clone = clone_of(PyWeakref_GetObject(value));
    if (!clone || clone == PyWeakref_GetObject(value)) return {};
    return checked(PyWeakref_NewRef(clone, nullptr));
  }
  if (depth > kSearchDepth) return {};
  if (PyFunction_Check(value)) return rebound_function(value, depth);
  if (type == &PyTuple_Type) {
    return rebound_items(value, PyTuple_GET_SIZE(value), depth);
  }
  if (type == &PyList_Type) {
    const nb::object items = rebound_items(value, PyList_GET_SIZE(value), depth);
    return items.is_valid() ? checked(PySequence_List(items.ptr())) : nb::object();
  }
  if (type == &PyDict_Type || type == types.ordered_dict) {
    if (PyDict_GET_SIZE(value) == 0) return {};
    nb::object copy;
    PyObject *key, *item;
    Py_ssize_t position = 0;
    while (PyDict_Next(value, &position, &key, &item)) {
      const nb::object own = rebound(item, depth + 1);
      if (!own.is_valid()) continue;
      // Keys and order stay, so a dict may be filled while it is read. On the top level it is the clone's own already.
      if (!copy.is_valid()) copy = depth == 0 ? nb::borrow(value) : copy_container(value, types);
      check(PyObject_SetItem(copy.ptr(), key, own.ptr()));
    }
    return copy;
  }
  if (type == types.wrapped_hook) return rebound_hook(value, depth);
  if (type == types.partial) return rebound_partial(value, depth);
  return {};
}

// A tuple; `fast` is a list or tuple.
nb::object TreeClone::rebound_items(PyObject* fast, Py_ssize_t size, int depth) {
  nb::object copy;
  for (Py_ssize_t i = 0; i < size; ++i) {
    nb::object own = rebound(PySequence_Fast_ITEMS(fast)[i], depth + 1);
    if (!own.is_valid()) continue;
    if (!copy.is_valid()) {
      copy = checked(PyTuple_New(size));
      for (Py_ssize_t j = 0; j < size; ++j) {
        PyObject* item = PySequence_Fast_ITEMS(fast)[j];
        Py_INCREF(item);
        PyTuple_SET_ITEM(copy.ptr(), j, item);
      }
    }
    PyObject* const before = PyTuple_GET_ITEM(copy.ptr(), i);
    PyTuple_SET_ITEM(copy.ptr(), i, own.release().ptr());
    Py_DECREF(before);
  }
  return copy;
}

nb::object TreeClone::rebound_hook(PyObject* hook, int depth) {
  const nb::object dict = checked(PyDict_Copy(instance_dict(hook).ptr()));
  bool changed = false;
  PyObject *key, *value;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict.ptr(), &position, &key, &value)) {
    const nb::object own = rebound(value, depth + 1);
    if (!own.is_valid()) continue;
    check(PyDict_SetItem(dict.ptr(), key, own.ptr()));
    changed = true;
  }
  return changed ? instance_with_dict(Py_TYPE(hook), dict) : nb::object();
}

nb::object TreeClone::rebound_partial(PyObject* partial, int depth) {
  const nb::object object = nb::borrow(partial);
  nb::object function = object.attr("func"), args = object.attr("args"), keywords = object.attr("keywords");
  nb::object own_function = rebound(function.ptr(), depth + 1);
  nb::object own_args = rebound(args.ptr(), depth + 1);
  nb::object own_keywords = rebound(keywords.ptr(), depth + 1);
  if (!own_function.is_valid() && !own_args.is_valid() && !own_keywords.is_valid()) return {};
  if (own_function.is_valid()) function = own_function;
  if (own_args.is_valid()) args = own_args;
  if (own_keywords.is_valid()) keywords = own_keywords;
  nb::object positional = checked(PyTuple_Pack(1, function.ptr()));
  positional = checked(PySequence_Concat(positional.ptr(), args.ptr()));
  return checked(
      PyObject_Call(reinterpret_cast<PyObject*>(ModuleTypes::instance().partial), positional.ptr(), keywords.ptr()));
}

}  // namespace modulize
