// Return types that say what is in a container, as python/modulize/_core.pyi has it: type checkers read that.
#pragma once

#include "bridge/python/python.h"

namespace modulize {

/// Of nb::object, Python's `object`, a type checker allows nothing; of this everything.
class Any : public nb::object {
  static bool accepts(PyObject* /*object*/) { return true; }
  NB_OBJECT_DEFAULT(Any, nb::object, "typing.Any", accepts)
  Any(nb::object object) : nb::object(std::move(object)) {}  // NOLINT(google-explicit-constructor)
};

template <class Item>
using ListOf = nb::typed<nb::list, Item>;
template <class... Items>
using TupleOf = nb::typed<nb::tuple, Items...>;
/// Keys are names.
using Record = nb::typed<nb::dict, nb::str, Any>;

}  // namespace modulize
