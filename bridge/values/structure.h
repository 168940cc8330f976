// Descriptions of Python values: what Python code may have decided by, to be compared in later calls.
#pragma once

#include <string>
#include <vector>

#include "bridge/values/parts.h"

namespace modulize {

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
