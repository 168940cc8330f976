// What Python objects are made of: items of containers and attributes of objects, walked the same way everywhere.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

/// An item of a container or an attribute of an object.
struct Part {
  bool is_attribute;
  nb::object key;  // the attribute's name; an index or key
  nb::object value;

  /// ".layers", "[0]", "['mask']", for messages.
  std::string text() const;
};

/// True for lists, tuples, dicts, deques, objects of classes written in Python, and subclasses of all these. False for
/// tensors, modules, classes, functions, enum members, numbers, and for sets, which have no order.
bool has_parts(PyObject* object);

/// The parts of an object that has some. Past `__getattr__`, `__getitem__` and properties: what is stored, nothing
/// else.
std::vector<Part> parts_of(PyObject* object);

/// A member of an enum, a leaf although its class is written in Python.
bool is_enum_member(PyObject* object);

/// How deep inputs and outputs may nest.
inline constexpr int kMaxNesting = 200;

/// Counts the parts of one value. Throws CaptureError if there are too many of them.
class PartCount {
 public:
  void one();

 private:
  std::size_t parts_ = 0;
};

/// True if a tensor is among the parts, or the parts of the parts. Throws CaptureError if there are too many of them.
bool holds_tensor(PyObject* object);

/// The modules inside, each once; what they hold themselves is not looked into.
std::vector<nb::object> modules_in(PyObject* object);

/// Calls `fn` for every tensor inside, one that stands in two places twice.
void for_each_tensor(PyObject* object, const std::function<void(nb::handle)>& fn);

/// An object of class `type` with these parts, made without its constructor. `like` lends what no part shows (the
/// factory of a defaultdict, the bound of a deque); null for none.
nb::object with_parts(PyTypeObject* type, const std::vector<Part>& parts, PyObject* like);

/// Gives an object that is no tuple these parts instead of its own.
void set_parts(PyObject* object, const std::vector<Part>& parts);

/// Copies a value with everything inside that can be changed; shared and circular parts stay so. `leaf` gives the copy
/// of what has no parts.
class StructureCopy {
 public:
  using Leaf = std::function<nb::object(nb::handle)>;
  explicit StructureCopy(Leaf leaf) : leaf_(std::move(leaf)) {}
  nb::object copy(nb::handle value);
  /// Whether this object has been copied before.
  bool knows(PyObject* object) const { return memo_.contains(object); }

 private:
  Leaf leaf_;
  struct Copied {
    nb::object original;  // holds what the memo is keyed by
    nb::object copy;      // invalid: under way
  };
  std::unordered_map<PyObject*, Copied> memo_;
  int depth_ = 0;
};

/// A tensor's copy for a run that must not write the original. Keeps requires_grad.
nb::object copy_tensor(nb::handle tensor);

/// A tensor's or a generator's copy; any other leaf itself.
nb::object copy_leaf(nb::handle leaf);

/// A copy of a value, of the containers, objects and tensors in it.
nb::object copied(nb::handle value);

/// True if the parts are the same objects under equal keys, in the same order.
bool same_parts(const std::vector<Part>& a, const std::vector<Part>& b);

}  // namespace modulize
