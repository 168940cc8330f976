// What Python objects are made of: items of containers and attributes of objects, walked the same way everywhere.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/support/python.h"

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

/// True if a tensor is among the parts, or the parts of the parts. Throws CaptureError if there are too many of them.
bool holds_tensor(PyObject* object);

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

/// A description of a value that says what Python code may have decided by: classes, keys, plain values, where tensors
/// are, which parts are the same object. Comparable by `==`.
nb::object structure_of(nb::handle value);

/// The same of what a call whose inside is not recorded has made; numbers are any numbers.
struct MadeStructure {
  struct Place {
    std::vector<Part> path;  // the keys that lead to it
    nb::object value;
  };
  nb::object structure;
  /// The exact lists whose items are alike: `structure` says what the items are, not how many.
  std::vector<Place> lists;
  /// What has numbers inside that are not followed, as they are in exact lists and dicts and in tuples.
  std::vector<Place> with_plain_numbers;
  /// Something inside that Python could decide by without being seen: the name of its class. Empty if there is none.
  std::string hidden;
};
/// `follows_numbers`: those of the value itself are.
MadeStructure structure_of_made(nb::handle value, bool follows_numbers);

/// Everything inside of a value as one flat tuple, for same_contents.
nb::object contents_of(nb::handle value);
/// True if the same objects (of numbers and texts: equal ones) stand in the same places.
bool same_contents(nb::handle before, nb::handle now);

/// Where `value` no longer is what `structure` describes, for people: "cache.layers[0] was ..., and is ...". Empty if
/// it is.
std::string structure_difference(nb::handle value, nb::handle structure, const std::string& text);

void bind_structure(nb::module_& m);

}  // namespace modulize
