// What every part of the bridge uses of CPython and nanobind.
// GIL: everything in bridge/ is called with the GIL held, unless a comment says otherwise.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/value.h"

namespace modulize {

namespace nb = nanobind;

/// `str(object)`. nb::str of an accessor (`x.attr("y")`) would reinterpret instead of convert.
inline std::string text_of(nb::handle object) { return nb::cast<std::string>(nb::str(object)); }

/// The value, a new reference, or the Python error as an exception.
inline nb::object checked(PyObject* fresh) {
  if (!fresh) nb::raise_python_error();
  return nb::steal(fresh);
}

/// The opaque Python objects that a graph refers to by number. Owns a reference to each. In object_table.cpp.
class ObjectTable {
 public:
  /// The number of this object (by identity), new or known.
  ObjectId add(nb::handle object);
  nb::handle operator[](ObjectId id) const { return objects_[id]; }
  std::size_t size() const { return objects_.size(); }
  /// A Value that refers to the object, labelled for people.
  Value value(nb::handle object);

 private:
  std::vector<nb::object> objects_;
  std::unordered_map<PyObject*, ObjectId> index_;
};

}  // namespace modulize
