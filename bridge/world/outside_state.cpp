#include "bridge/world/outside_state.h"

#include <algorithm>
#include <string_view>

#include "bridge/python/errors.h"
#include "bridge/values/generators.h"
#include "bridge/values/torch_types.h"

namespace modulize {

bool is_library_module(std::string_view name) {
  static const auto* const roots = [] {
    auto* out = new std::unordered_set<std::string>{"torch", "numpy", "modulize", "builtins"};
    const nb::object names = nb::getattr(nb::module_::import_("sys"), "stdlib_module_names", nb::tuple());
    for (nb::handle library : names) out->insert(nb::cast<std::string>(library));
    return out;
  }();
  return roots->contains(std::string(name.substr(0, name.find('.'))));
}

namespace {

constexpr int kMaxDepth = 3;
constexpr std::size_t kMaxParts = 1000;

std::string_view utf8(PyObject* text) {
  const char* chars = text && PyUnicode_Check(text) ? PyUnicode_AsUTF8(text) : nullptr;
  if (!chars) PyErr_Clear();
  return chars ? chars : "";
}

bool is_library(PyTypeObject* type) {
  if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) return true;
  static PyObject* const key = PyUnicode_InternFromString("__module__");
  return is_library_module(utf8(PyDict_GetItem(type->tp_dict, key)));
}

std::string_view name_of_variables(PyObject* variables) {
  static PyObject* const key = PyUnicode_InternFromString("__name__");
  return utf8(PyDict_GetItem(variables, key));
}

/// Modules whose functions give something else at every call; empty for any other.
std::string restless(std::string_view module) {
  if (module == "random" || module == "_random" || module == "numpy.random") return "random numbers";
  if (module == "time" || module == "datetime") return "the time";
  if (module == "uuid" || module == "secrets") return "what module '" + std::string(module) + "' draws";
  return "";
}

bool is_plain(PyObject* value) {
  PyTypeObject* type = Py_TYPE(value);
  const TorchTypes& torch = TorchTypes::instance();
  return value == Py_None || type == &PyBool_Type || type == &PyLong_Type || type == &PyFloat_Type ||
         type == &PyUnicode_Type || type == torch.dtype || PyType_IsSubtype(type, torch.module) ||
         torch.is_tensor(value);
}

nb::object attribute(PyObject* object, const char* name) {
  PyObject* out = PyObject_GetAttrString(object, name);
  if (!out) PyErr_Clear();
  return nb::steal(out);
}

}  // namespace

OutsideState::OutsideState(const ModuleScan& scan) {
  for (const ModuleScan::Entry& entry : scan.modules) {
    PyTypeObject* const type = Py_TYPE(entry.module);
    if (is_library_leaf(type)) continue;
    look_at_class(type, "forward");
    PyObject** const dict = _PyObject_GetDictPtr(entry.module);
    if (!dict || !*dict) continue;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(*dict, &at, &key, &value);)
      if (is_plain(value)) {
        continue;
      } else if (PyDict_Check(value) || PyList_CheckExact(value)) {
        // Other regions have the container; what it holds may be functions.
        const std::vector<Part> parts = parts_of(value);
        if (parts.size() > kMaxParts) continue;
        for (const Part& part : parts)
          if (PyFunction_Check(part.value.ptr()) || PyMethod_Check(part.value.ptr()))
            look_at(part.value.ptr(), nullptr, "attribute '" + std::string(utf8(key)) + "'");
      } else if (!PyAnySet_CheckExact(value)) {
        look_at(value, nullptr, "attribute '" + std::string(utf8(key)) + "'");
      }
  }
  finish();
}

// Not by recursion: the code of a library names as much again.
void OutsideState::finish() {
  for (;;) {
    if (!pending_code_.empty()) {
      const Code next = pending_code_.back();
      pending_code_.pop_back();
      look_at_code(next.code, next.globals, next.self);
    } else if (next_names_ < pending_names_.size()) {
      const Names next = pending_names_[next_names_++];
      look_at_names(next.names, next.variables);
    } else {
      return;
    }
  }
}

void OutsideState::look_at_class(PyTypeObject* type, const char* method) {
  if (!seen_.insert(reinterpret_cast<PyObject*>(type)).second) return;
  const nb::object key = checked(PyUnicode_InternFromString(method));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); ++i) {
    auto* const base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(type->tp_mro, i));
    if (is_library(base)) continue;
    if (base == type || seen_.insert(reinterpret_cast<PyObject*>(base)).second)
      hold(Kind::type, reinterpret_cast<PyObject*>(base), std::string("an attribute of class ") + base->tp_name);
    PyObject* const function = PyDict_GetItem(base->tp_dict, key.ptr());
    if (function && PyFunction_Check(function)) look_at_function(function, type);
  }
}

void OutsideState::look_at_function(PyObject* function, PyTypeObject* self) {
  PyObject* const globals = PyFunction_GET_GLOBALS(function);
  if (is_library_module(name_of_variables(globals)) || !seen_.insert(function).second) return;
  keep_.push_back(nb::borrow(function));
  const auto* const f = reinterpret_cast<PyFunctionObject*>(function);
  const std::string name = "function '" + std::string(utf8(f->func_qualname)) + "'";
  for (PyObject* values : {f->func_defaults, f->func_kwdefaults, f->func_dict})
    if (values) look_at(values, nullptr, "what belongs to " + name);
  for (Py_ssize_t i = 0; f->func_closure && i < PyTuple_GET_SIZE(f->func_closure); ++i) {
    PyObject* const cell = PyTuple_GET_ITEM(f->func_closure, i);
    if (!seen_.insert(cell).second) continue;
    hold(Kind::cell, cell, "a variable around " + name);
    if (PyObject* value = PyCell_GET(cell)) look_at(value, nullptr, "a variable around " + name);
  }
  pending_code_.push_back({f->func_code, globals, self});
}

void OutsideState::look_at_code(PyObject* code, PyObject* globals, PyTypeObject* self) {
  const auto* const c = reinterpret_cast<PyCodeObject*>(code);
  look_at_names(c->co_names, globals);
  for (Py_ssize_t i = 0; self && i < PyTuple_GET_SIZE(c->co_names); ++i)
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(self->tp_mro); ++k) {
      auto* const base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(self->tp_mro, k));
      if (base == TorchTypes::instance().module) break;
      PyObject* const member = PyDict_GetItem(base->tp_dict, PyTuple_GET_ITEM(c->co_names, i));
      if (!member || is_plain(member)) continue;
      if (PyFunction_Check(member)) {
        look_at_function(member, self);
        continue;
      }
      // A property, a static method or a class method.
      for (const char* inside : {"fget", "__func__"})
        if (const nb::object function = attribute(member, inside);
            function.is_valid() && PyFunction_Check(function.ptr()))
          look_at_function(function.ptr(), self);
      look_at(member, nullptr, std::string("an attribute of class ") + base->tp_name);
    }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(c->co_consts); ++i)
    if (PyObject* inner = PyTuple_GET_ITEM(c->co_consts, i); PyCode_Check(inner))
      pending_code_.push_back({inner, globals, self});
}

void OutsideState::look_at_names(PyObject* names, PyObject* variables) {
  const auto [it, fresh] = variables_.try_emplace(variables, Variables{held_.size(), {}});
  if (fresh) hold(Kind::variables, variables, "a global of module '" + std::string(name_of_variables(variables)) + "'");
  Variables& known = it->second;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    PyObject* const value = PyDict_GetItem(variables, name);
    if (value && PyModule_Check(value)) look_at_module_object(value, names);  // with other names each time
    if (!known.names.insert(name).second) continue;
    held_[known.index].names.push_back(name);
    if (!value) continue;
    held_[known.index].parts.push_back({true, nb::borrow(name), nb::borrow(value)});
    look_at(value, names, "global '" + std::string(utf8(name)) + "'");
  }
}

void OutsideState::look_at_module_object(PyObject* module, PyObject* names) {
  PyObject* const variables = PyModule_GetDict(module);
  const std::string_view name = name_of_variables(variables);
  if (std::string what = restless(name); !what.empty()) {
    restless_.push_back(std::move(what));
    return;
  }
  if (name == "numpy") {
    static PyObject* const random = PyUnicode_InternFromString("random");
    if (names && PySequence_Contains(names, random) == 1) restless_.push_back(restless("numpy.random"));
    return;
  }
  if (!names || is_library_module(name)) return;
  const Names found{names, variables};
  if (std::find(pending_names_.begin(), pending_names_.end(), found) == pending_names_.end())
    pending_names_.push_back(found);
}

void OutsideState::look_at(PyObject* value, PyObject* names, const std::string& name, int depth) {
  if (is_plain(value)) return;
  if (PyFunction_Check(value)) return look_at_function(value, nullptr);
  if (PyModule_Check(value)) return;
  if (PyMethod_Check(value)) {
    look_at(PyMethod_GET_SELF(value), names, name, depth);
    PyObject* const function = PyMethod_GET_FUNCTION(value);
    if (PyFunction_Check(function)) look_at_function(function, Py_TYPE(PyMethod_GET_SELF(value)));
    return;
  }
  if (PyType_Check(value)) {
    auto* const type = reinterpret_cast<PyTypeObject*>(value);
    if (std::string_view(type->tp_name).starts_with("datetime."))
      restless_.push_back(restless("datetime"));
    else if (!is_library(type))
      look_at_class(type, "__init__");
    return;
  }
  if (PyCFunction_Check(value)) {
    PyObject* const self = PyCFunction_GET_SELF(value);
    if (self && PyModule_Check(self)) return look_at_module_object(self, nullptr);
    return self ? look_at(self, names, name, depth) : void();
  }
  if (is_generator(value)) {
    // Draws of torch's are recorded.
    if (std::string_view(Py_TYPE(value)->tp_name) != "torch._C.Generator") restless_.push_back("random numbers");
    if (seen_.insert(value).second) generators_.push_back(nb::borrow(value));
    return;
  }
  if (PyIter_Check(value)) {
    restless_.push_back("an iterator (" + name + ")");
    return;
  }
  if (std::string_view(Py_TYPE(value)->tp_name) == "_thread._local")
    return look_at(nb::object(nb::handle(value).attr("__dict__")).ptr(), names, name, depth);
  if (PyObject** dict = _PyObject_GetDictPtr(value); dict && *dict) {  // what functools wraps
    static PyObject* const wrapped = PyUnicode_InternFromString("__wrapped__");
    if (PyObject* inner = PyDict_GetItem(*dict, wrapped)) look_at(inner, names, name, depth);
  }
  if (depth > kMaxDepth || !seen_.insert(value).second) return;
  keep_.push_back(nb::borrow(value));
  if (PyAnySet_Check(value)) return hold(Kind::set, value, name);
  if (!has_parts(value)) return;
  PyTypeObject* const type = Py_TYPE(value);
  if (!PyDict_Check(value) && !PyList_Check(value) && !PyTuple_Check(value)) {
    if (std::string_view(type->tp_name) != "collections.deque") {
      if (is_library(type)) return;
      look_at_class(type, "__call__");
    }
  }
  std::vector<Part> parts = parts_of(value);
  if (parts.size() > kMaxParts) return;
  for (const Part& part : parts) look_at(part.value.ptr(), names, name, depth + 1);
  if (!PyTuple_CheckExact(value)) held_.push_back({Kind::object, nb::borrow(value), name, std::move(parts)});
}

void OutsideState::hold(Kind kind, PyObject* holder, const std::string& name) {
  held_.push_back({kind, nb::borrow(holder), name, {}});
  held_.back().parts = parts_now(held_.back());
}

std::vector<Part> OutsideState::parts_now(const Held& held) {
  std::vector<Part> out;
  PyObject* const holder = held.holder.ptr();
  PyObject *key, *value;
  switch (held.kind) {
    case Kind::object:
      return parts_of(holder);
    case Kind::set: {
      const nb::object items = checked(PySequence_List(holder));
      for (nb::handle item : items) out.push_back({false, nb::borrow(item), nb::borrow(item)});
      return out;
    }
    case Kind::type: {
      PyObject* const dict = reinterpret_cast<PyTypeObject*>(holder)->tp_dict;
      for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
        out.push_back({true, nb::borrow(key), nb::borrow(value)});
      return out;
    }
    case Kind::cell:
      if (PyObject* content = PyCell_GET(holder)) out.push_back({false, nb::none(), nb::borrow(content)});
      return out;
    case Kind::variables:
      for (PyObject* name : held.names)
        if (PyObject* found = PyDict_GetItem(holder, name)) out.push_back({true, nb::borrow(name), nb::borrow(found)});
      return out;
  }
  return out;
}

void OutsideState::put(const Held& held, const std::vector<Part>& parts) {
  const nb::object& holder = held.holder;
  switch (held.kind) {
    case Kind::object:
      return set_parts(holder.ptr(), parts);
    case Kind::set:
      holder.attr("clear")();
      for (const Part& part : parts) holder.attr("add")(part.value);
      return;
    case Kind::cell:
      PyCell_Set(holder.ptr(), parts.empty() ? nullptr : parts[0].value.ptr());
      return;
    case Kind::type:
    case Kind::variables: {
      const std::vector<Part> now = parts_now(held);
      const auto find = [](const std::vector<Part>& among, const Part& part) {
        return std::find_if(among.begin(), among.end(), [&](const Part& p) { return p.key.is(part.key); });
      };
      const bool is_type = held.kind == Kind::type;
      for (const Part& part : parts) {
        const auto it = find(now, part);
        if (it != now.end() && it->value.is(part.value)) continue;
        const int failed = is_type ? PyObject_SetAttr(holder.ptr(), part.key.ptr(), part.value.ptr())
                                   : PyDict_SetItem(holder.ptr(), part.key.ptr(), part.value.ptr());
        if (failed) nb::raise_python_error();
      }
      for (const Part& part : now) {
        if (find(parts, part) != parts.end()) continue;
        const int failed =
            is_type ? PyObject_DelAttr(holder.ptr(), part.key.ptr()) : PyDict_DelItem(holder.ptr(), part.key.ptr());
        if (failed) nb::raise_python_error();
      }
    }
  }
}

namespace {

/// The first part that is another one; null if there is none.
const Part* first_change(const std::vector<Part>& before, const std::vector<Part>& now) {
  for (std::size_t i = 0; i < now.size(); ++i)
    if (i >= before.size() || !before[i].key.is(now[i].key) || !before[i].value.is(now[i].value)) {
      // Keys that parts_of makes anew (indices) are equal, not the same.
      if (i < before.size() && before[i].value.is(now[i].value) && before[i].is_attribute == now[i].is_attribute &&
          PyObject_RichCompareBool(before[i].key.ptr(), now[i].key.ptr(), Py_EQ) == 1)
        continue;
      PyErr_Clear();
      return &now[i];
    }
  return now.size() < before.size() ? &before[now.size()] : nullptr;
}

}  // namespace

std::vector<std::string> OutsideState::suspects() const {
  std::vector<std::string> out = restless_;
  for (const Held& held : held_) {
    const std::vector<Part> now = parts_now(held);
    const Part* const change = first_change(held.parts, now);
    if (!change) continue;
    const bool is_named = held.kind == Kind::type || held.kind == Kind::variables;
    out.push_back(is_named ? "'" + text_of(change->key) + "', " + held.name : held.name);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<PyObject*> OutsideState::globals_naming(const char* name) const {
  const nb::object text = checked(PyUnicode_InternFromString(name));  // as the names in code are
  std::vector<PyObject*> out;
  for (const auto& [globals, known] : variables_)
    if (known.names.contains(text.ptr())) out.push_back(globals);
  return out;
}

OutsideChanges OutsideState::restore() const {
  OutsideChanges out;
  for (std::size_t i = 0; i < held_.size(); ++i) {
    std::vector<Part> now = parts_now(held_[i]);
    if (!first_change(held_[i].parts, now)) continue;
    put(held_[i], held_[i].parts);
    out.changed_.push_back({i, std::move(now)});
  }
  if (!out.empty()) out.state_ = shared_from_this();
  return out;
}

OutsideChanges::Found::Found(const OutsideChanges* changes) : changes_(changes) {
  if (changes_)
    for (const Changed& one : changes_->changed_) OutsideState::put(changes_->state_->held_[one.index], one.parts);
}

OutsideChanges::Found::~Found() {
  if (!changes_ || changes_->empty()) return;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  try {
    changes_->state_->restore();
  } catch (nb::python_error& e) {
    e.discard_as_unraisable("putting back what forward left");
  }
  PyErr_Restore(type, value, trace);
}

std::string OutsideState::written_attribute_of(PyTypeObject* type) const {
  for (const Held& held : held_) {
    if (held.kind != Kind::type || !PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(held.holder.ptr())))
      continue;
    const std::vector<Part> now = parts_now(held);
    if (const Part* change = first_change(held.parts, now)) return text_of(change->key);
  }
  return "";
}

}  // namespace modulize
