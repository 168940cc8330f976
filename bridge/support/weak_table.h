// What is known of Python objects, by identity, for as long as each lives.
#pragma once

#include <cstddef>
#include <unordered_map>
#include <utility>

#include "bridge/support/python.h"

namespace modulize {

/// Keeps no key alive, where its type takes weak references (classes and functions do); what was noted of a dead object
/// is never found under a new one at the same address. A key without weak references is kept for good.
template <class T>
class WeakTable {
 public:
  /// Null where nothing is known. Valid until the object dies.
  const T* find(PyObject* key) const {
    const auto it = entries_.find(key);
    return it != entries_.end() && it->second.is_of(key) ? &it->second.value : nullptr;
  }

  /// Replaces what was known.
  const T& insert(PyObject* key, T value) {
    if (entries_.size() >= limit_) drop_dead();
    PyObject* holder = PyWeakref_NewRef(key, nullptr);
    if (!holder) {
      PyErr_Clear();
      Py_INCREF(key);
      holder = key;
    }
    return entries_.insert_or_assign(key, Entry{nb::steal(holder), std::move(value)}).first->second.value;
  }

 private:
  struct Entry {
    nb::object holder;  // a weak reference, or the object itself
    T value;

    bool is_of(PyObject* key) const {
      return holder.ptr() == key || (PyWeakref_Check(holder.ptr()) && PyWeakref_GetObject(holder.ptr()) == key);
    }
  };

  // Only when twice as many are there as were alive the last time: the cost per insertion is constant.
  void drop_dead() {
    std::erase_if(entries_, [](const auto& entry) { return !entry.second.is_of(entry.first); });
    limit_ = 2 * entries_.size() + kSmall;
  }

  static constexpr std::size_t kSmall = 256;

  std::unordered_map<PyObject*, Entry> entries_;
  std::size_t limit_ = kSmall;
};

}  // namespace modulize
