#include "bridge/materialise/new_modules.h"

#include "bridge/materialise/module_types.h"
#include "bridge/materialise/python_value.h"
#include "bridge/materialise/shallow_clone.h"
#include "bridge/materialise/tree_queries.h"
#include "bridge/python/names.h"
#include "ir/namer.h"
#include "support/error.h"
#include "support/python_repr.h"

namespace modulize {

namespace {

nb::object prepared_py() { return nb::module_::import_("modulize._prepared"); }

/// The dict (or set) under `name` in an instance dict, made where missing.
template <class Make>
nb::object own_entry(nb::handle dict, const char* name, Make&& make) {
  const nb::object key = checked(PyUnicode_InternFromString(name));
  if (PyObject* known = dict_get(dict.ptr(), key.ptr())) return nb::borrow(known);
  nb::object made = checked(make());
  check(PyDict_SetItem(dict.ptr(), key.ptr(), made.ptr()));
  return made;
}

PyObject* new_set() { return PySet_New(nullptr); }

void tie(nb::handle dict, nb::handle name, PyObject* owner, nb::handle owner_name) {
  const nb::object tied = own_entry(dict, kTiedAttribute, PyDict_New);
  check(PyDict_SetItem(tied.ptr(), name.ptr(), nb::make_tuple(nb::borrow(owner), owner_name).ptr()));
}

// Calls `fn(name, tensor)` for every Parameter and buffer of the module itself.
template <class Fn>
void for_each_tensor(PyObject* dict, Fn&& fn) {
  const ModuleTypes& types = ModuleTypes::instance();
  for (PyObject* const kind : {types.parameters, types.buffers}) {
    PyObject* const tensors = dict_get(dict, kind);
    if (!tensors || !PyDict_Check(tensors)) continue;
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(tensors, &position, &key, &value))
      if (value != Py_None) fn(key, value);
  }
}

bool has_state(PyObject* dict) {
  const ModuleTypes& types = ModuleTypes::instance();
  bool found = false;
  for_each_tensor(dict, [&](PyObject*, PyObject*) { found = true; });
  PyObject* const modules = dict_get(dict, types.modules);
  return found || (modules && PyObject_Length(modules) > 0);
}

// Puts torch's random state back: constructors draw initial values.
class RandomStateKept {
 public:
  RandomStateKept() : torch_(nb::module_::import_("torch")), state_(torch_.attr("get_rng_state")()) {}
  void restore() { torch_.attr("set_rng_state")(state_); }

 private:
  nb::module_ torch_;
  nb::object state_;
};

void set_mode(nb::handle module, PyObject* parent) {
  const ModuleTypes& types = ModuleTypes::instance();
  const nb::object parent_dict = instance_dict(parent), dict = instance_dict(module.ptr());
  PyObject* const mode = dict_get(parent_dict.ptr(), types.training);
  if (!mode) return;
  PyObject* const modules = dict_get(dict.ptr(), types.modules);
  if (modules && PyObject_Length(modules) > 0) {
    module.attr("train")(nb::borrow(mode));
  } else {
    check(PyDict_SetItem(dict.ptr(), types.training, mode));
  }
}

}  // namespace

PyObject* NewModules::parent_of(std::string_view path) const {
  PyObject* parent = find_module(root_, split_path(path).first);
  if (!parent)
    throw Error(ErrorCode::VerifierError, "there is no module to put " + python_repr(path) +
                                              " into; a graph and its model do not belong together");
  return parent;
}

void NewModules::add_child(std::string_view path, nb::handle module) {
  const ModuleTypes& types = ModuleTypes::instance();
  PyObject* const parent = parent_of(path);
  const nb::object dict = instance_dict(parent);
  const nb::object name = make_text(split_path(path).second);
  PyObject* const modules = dict_get(dict.ptr(), types.modules);
  if (!modules)
    throw Error(ErrorCode::UnsupportedError,
                "the parent of " + python_repr(path) + " has no `_modules`: its class never called Module.__init__");
  check(PyObject_SetItem(modules, name.ptr(), module.ptr()));
  if (!types.is_container(parent)) return;
  prepared_py().attr("hide_additions")(nb::borrow(parent));
  check(PySet_Add(own_entry(dict, kAddedAttribute, new_set).ptr(), name.ptr()));
}

void NewModules::add_constant(std::string_view path, nb::handle tensor) {
  const ModuleTypes& types = ModuleTypes::instance();
  const nb::object dict = instance_dict(parent_of(path));
  const nb::object name = make_text(split_path(path).second);
  check(PyDict_SetItem(dict_get(dict.ptr(), types.buffers), name.ptr(), tensor.ptr()));
  check(PySet_Add(dict_get(dict.ptr(), types.non_persistent), name.ptr()));
  check(PySet_Add(own_entry(dict, kConstantsAttribute, new_set).ptr(), name.ptr()));
}

void NewModules::add(const ModuleSpec& spec) {
  if (spec.kind == ModuleKind::existing || spec.kind == ModuleKind::graph || spec.kind == ModuleKind::branch) return;
  nb::object module = spec.kind == ModuleKind::copy ? copy_of(spec) : construct(spec);
  if (spec.kind == ModuleKind::constructed) set_mode(module, parent_of(spec.path));
  add_child(spec.path, module);
}

// A module without tensors and children is made once for equal arguments, and cloned from then on: calling nn.ReLU
// costs five times as much.
nb::object NewModules::construct(const ModuleSpec& spec) {
  if (!spec.adopts.empty()) {
    nb::object module = call_class(spec, /*on_meta=*/true);
    adopt(module, spec);
    return module;
  }
  std::vector<Prototype>& known = prototypes_[spec.type];
  for (const Prototype& prototype : known)
    if (prototype.args == spec.args && prototype.kwargs == spec.kwargs) return TreeClone(prototype.module).root();
  nb::object module = call_class(spec, /*on_meta=*/false);
  if (!has_state(instance_dict(module.ptr()).ptr())) {
    nb::object clone = TreeClone(module).root();
    known.push_back({spec.args, spec.kwargs, std::move(module)});
    return clone;
  }
  return module;
}

nb::object NewModules::call_class(const ModuleSpec& spec, bool on_meta) {
  const nb::object type = resolve_name(spec.type);
  const ValueContext context{objects_, nullptr};
  const nb::object args = to_python_args(spec.args, context);
  const nb::object kwargs = to_python_kwargs(spec.kwargs, context);
  if (on_meta) {
    // The tensors are replaced at once: no memory, no initialisation, no random numbers drawn.
    const nb::object on_device = checked(PyDict_Copy(kwargs.ptr()));
    check(PyDict_SetItemString(on_device.ptr(), "device", make_text("meta").ptr()));
    PyObject* made = PyObject_Call(type.ptr(), args.ptr(), on_device.ptr());
    if (made) return nb::steal(made);
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw nb::python_error();
    PyErr_Clear();  // a class without `device`
  }
  RandomStateKept random;
  nb::object module = checked(PyObject_Call(type.ptr(), args.ptr(), kwargs.ptr()));
  random.restore();
  return module;
}

void NewModules::adopt(nb::handle module, const ModuleSpec& spec) {
  const ModuleTypes& types = ModuleTypes::instance();
  const nb::object dict = instance_dict(module.ptr());
  PyObject* const parameters = dict_get(dict.ptr(), types.parameters);
  PyObject* const buffers = dict_get(dict.ptr(), types.buffers);
  for (PyObject* const tensors : {parameters, buffers}) {
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(tensors, &position, &key, &value)) check(PyDict_SetItem(tensors, key, Py_None));
  }
  for (const auto& [name, path] : spec.adopts) {
    const auto [owner_path, owner_name] = split_path(path);
    PyObject* const owner = find_module(root_, owner_path);
    const nb::object key = make_text(name), owner_key = make_text(owner_name);
    PyObject* value = owner ? PyObject_GetAttr(owner, owner_key.ptr()) : nullptr;
    if (!value) {
      if (owner && !PyErr_ExceptionMatches(PyExc_AttributeError)) throw nb::python_error();
      PyErr_Clear();
      throw Error(ErrorCode::VerifierError, "the module " + python_repr(std::string_view(spec.path)) +
                                                " adopts the tensor " + python_repr(std::string_view(path)) +
                                                ", which the model does not have");
    }
    const nb::object tensor = nb::steal(value);
    const int is_parameter = PyObject_IsInstance(value, reinterpret_cast<PyObject*>(types.parameter));
    check(is_parameter);
    // The other dict must not have the name: attribute access would stop at its None.
    PyObject* const other = is_parameter ? buffers : parameters;
    if (PyDict_Contains(other, key.ptr()) > 0) check(PyDict_DelItem(other, key.ptr()));
    check(PyDict_SetItem(is_parameter ? parameters : buffers, key.ptr(), value));
    tie(dict, key, owner, owner_key);
  }
  prepared_py().attr("hide_tied")(module);
}

nb::object NewModules::copy_of(const ModuleSpec& spec, bool as_block) {
  PyObject* const source = find_module(root_, spec.copy_of);
  if (!source)
    throw Error(ErrorCode::VerifierError, "the module " + python_repr(std::string_view(spec.path)) + " is a copy of " +
                                              python_repr(std::string_view(spec.copy_of)) +
                                              ", which the model does not have");
  TreeClone::Classes classes;
  if (as_block) classes.emplace(source, prepared_class_of(source));
  const TreeClone copy(nb::borrow(source), classes);
  if (spec.untied) {
    prepared_py().attr("own_tensors")(copy.root());
    return copy.root();
  }
  for (const TreeClone::Entry& entry : copy.entries()) {
    const nb::object dict = instance_dict(entry.clone.ptr());
    bool any = false;
    for_each_tensor(dict.ptr(), [&](PyObject* name, PyObject*) {
      tie(dict, nb::borrow(name), entry.original.ptr(), nb::borrow(name));
      any = true;
    });
    if (any) prepared_py().attr("hide_tied")(entry.clone);
  }
  return copy.root();
}

nb::object NewModules::copy_block(const ModuleSpec& spec) {
  nb::object copy = copy_of(spec, /*as_block=*/true);
  // The children of a further call are made for it.
  PyObject* const modules = dict_get(instance_dict(copy.ptr()).ptr(), ModuleTypes::instance().modules);
  nb::borrow(modules).attr("clear")();
  return copy;
}

nb::object prepared_class_of(PyObject* module) {
  return prepared_py().attr("prepared_class")(nb::handle(reinterpret_cast<PyObject*>(Py_TYPE(module))));
}

void note_own_ties(const TreeClone& tree) {
  std::unordered_map<PyObject*, std::pair<PyObject*, PyObject*>> first;  // tensor -> (module, name); borrowed
  for (const TreeClone::Entry& entry : tree.entries()) {
    const nb::object dict = instance_dict(entry.clone.ptr());
    for_each_tensor(dict.ptr(), [&](PyObject* name, PyObject* tensor) {
      const auto [it, fresh] = first.emplace(tensor, std::pair(entry.clone.ptr(), name));
      if (!fresh) tie(dict, nb::borrow(name), it->second.first, nb::borrow(it->second.second));
    });
  }
}

}  // namespace modulize
