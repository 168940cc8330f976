// What is known of Python objects, by identity, for as long as each lives.
#pragma once

#include <unordered_map>
#include <utility>

#include "bridge/python/python.h"

namespace modulize {

/// Keeps no key alive, where its type takes weak references (classes and functions do): the entry goes with the object.
/// A key without weak references is kept for good. The table itself lives as long as the process.
template <class T>
class WeakTable {
 public:
  WeakTable() = default;
  WeakTable(const WeakTable&) = delete;
  WeakTable& operator=(const WeakTable&) = delete;

  /// Null where nothing is known. Valid until the object dies.
  const T* find(PyObject* key) const {
    const auto it = entries_.find(key);
    return it != entries_.end() && it->second.is_of(key) ? &it->second.value : nullptr;
  }

  /// Replaces what was known.
  const T& insert(PyObject* key, T value) {
    nb::object holder = nb::steal(PyWeakref_NewRef(key, forget(key).ptr()));
    if (!holder.is_valid()) {
      PyErr_Clear();
      holder = nb::borrow(key);
    }
    return entries_.insert_or_assign(key, Entry{std::move(holder), std::move(value)}).first->second.value;
  }

 private:
  struct Entry {
    nb::object holder;  // a weak reference, or the object itself
    T value;

    bool is_of(PyObject* key) const {
      return holder.ptr() == key || (PyWeakref_Check(holder.ptr()) && PyWeakref_GetObject(holder.ptr()) == key);
    }
  };
  struct Key {
    WeakTable* table;
    PyObject* object;  // borrowed; may be dead
  };

  // The callable that a weak reference to `key` calls when the object dies.
  nb::object forget(PyObject* key) {
    static PyMethodDef def = {"forget", &WeakTable::on_death, METH_O, nullptr};
    const nb::object self = nb::steal(PyCapsule_New(new Key{this, key}, nullptr, [](PyObject* capsule) {
      delete static_cast<Key*>(PyCapsule_GetPointer(capsule, nullptr));
    }));
    if (!self.is_valid()) nb::raise_python_error();
    nb::object function = nb::steal(PyCFunction_New(&def, self.ptr()));
    if (!function.is_valid()) nb::raise_python_error();
    return function;
  }

  static PyObject* on_death(PyObject* self, PyObject* reference) {
    const Key* key = static_cast<Key*>(PyCapsule_GetPointer(self, nullptr));
    auto& entries = key->table->entries_;
    const auto it = entries.find(key->object);
    // Where a new object has the address by now, the entry is the new one's.
    if (it != entries.end() && it->second.holder.ptr() == reference) entries.erase(it);
    Py_RETURN_NONE;
  }

  std::unordered_map<PyObject*, Entry> entries_;
};

}  // namespace modulize
