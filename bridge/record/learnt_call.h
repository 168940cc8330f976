// What a call with kernels yields, but for the values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

/// Of a tensor with memory of its own.
struct LearntShape {
  nb::object size, stride, dtype, device;
  nb::tuple args = {};  // of torch.empty_strided
  nb::dict kwargs = {};
};

/// Of any tensor. GIL held; throws nb::python_error.
LearntShape learnt_shape_of(PyObject* tensor);

/// Arguments of the same structure with other tensors in them. GIL held.
nb::object with_tensors(PyObject* object, const std::unordered_map<PyObject*, nb::object>& others);

struct LearntCall {
  enum class Kind : std::uint8_t {
    stands,  // is left out
    free,    // runs no kernel: gives arguments back, views of them, or what is no tensor
    values,  // cannot be left out
  };
  struct Piece {
    enum class Kind : std::uint8_t { none, argument, fresh, items } kind = Kind::none;
    std::size_t argument = 0;  // its number among the key's tensors
    LearntShape shape = {};    // of what is fresh
    bool is_meta = false;      // what stands for it is what it is
    nb::object type = {};      // of items
    std::vector<Piece> items = {};
  };
  Kind kind = Kind::values;
  Piece result;
  std::vector<std::pair<std::size_t, long long>> writes;  // argument, by how much its version counts on
  std::size_t elements = 0;
  bool integers_alone = true;
  bool is_meta = true;  // all that is fresh; there is nothing to keep by running it
};

}  // namespace modulize
