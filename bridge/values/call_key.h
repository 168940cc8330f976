// What two calls have in common that differ in the values of tensors alone.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

enum class NumberKind : std::uint8_t { boolean, integer, floating, other };

/// Of a torch.dtype; `other` for quantized ones.
NumberKind kind_of_dtype(PyObject* dtype);

/// All of a tensor but its values.
struct TensorFacts {
  std::string bytes;  // equal for tensors that differ in values alone
  std::size_t elements = 0;
  const void* storage = nullptr;  // see storage_of
  NumberKind kind = NumberKind::other;
  bool has_dimensions = true;
  bool is_meta = false;      // holds no values
  bool is_complete = false;  // false: sparse, quantized, of a class of its own, ...
};

/// Of any tensor; clears what Python raises.
TensorFacts facts_of(PyObject* tensor);

/// What keeps them. The reference is valid until the next call.
class FactsSource {
 public:
  virtual const TensorFacts& facts(PyObject* tensor) = 0;

 protected:
  ~FactsSource() = default;
};

/// Built of the arguments of one call. The tensors are borrowed from what was added. GIL held, no function mode on the
/// stack; adding throws nothing: what cannot be compared makes the key incomplete.
class CallKey {
 public:
  /// `is_structure`: sizes, strides but for the order of dimensions in memory, and whole numbers outside of layers do
  /// not count.
  explicit CallKey(FactsSource& source, bool is_structure = false) : source_(source), is_structure_(is_structure) {}

  /// Of a function, a class or another object whose identity counts; it must outlive the key's use.
  void add_identity(const void* object);
  /// Any object: numbers and texts by value, tensors by their facts, containers by their items.
  void add(PyObject* object);
  /// A tuple. Its first item is what the call is made on: no size and no index.
  void add_arguments(PyObject* arguments);
  /// Of a layer of torch: its class, its plain attributes and its own Parameters and buffers. A layer that has modules
  /// of its own makes the key incomplete, attention excepted.
  void add_layer(PyObject* module);

  /// Equal keys: the calls differ in the values of tensors alone.
  const std::string& bytes() const { return bytes_; }
  bool is_complete() const { return complete_; }
  /// Each once, in the order in which they were met.
  const std::vector<PyObject*>& tensors() const { return tensors_; }
  /// How many elements they have together.
  std::size_t elements() const { return elements_; }
  /// Is there, but in a layer and first in the arguments, an integer or boolean without dimensions, a tensor of
  /// booleans?
  bool has_number() const { return has_number_; }
  bool has_booleans() const { return has_booleans_; }

 private:
  void add_tensor(PyObject* tensor);
  void add_content_of(PyObject* module);
  void add_layers_of(PyObject* module, PyObject* children);
  template <class Number>
  void add_bytes(char kind, Number value) {
    bytes_ += kind;
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  FactsSource& source_;
  const bool is_structure_;
  bool is_in_layer_ = false;
  std::string bytes_;
  std::vector<PyObject*> tensors_;
  std::size_t elements_ = 0;
  int depth_ = 0;
  bool complete_ = true, has_number_ = false, has_booleans_ = false;
  bool may_be_index_ = true;  // what is added now
};

/// The address of the tensor's storage, null where it has none or torch does not tell it. Not its memory: also of an
/// empty one, the same for all views.
const void* storage_of(PyObject* tensor);

}  // namespace modulize
