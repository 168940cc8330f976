// Inputs of further captures, made of the example's: other values, more rows, other sizes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bridge/python/python.h"

namespace modulize {

using Sizes = std::map<std::int64_t, std::int64_t>;  // as they are -> as they become

/// What a second capture has otherwise, beside the values.
struct Variation {
  std::int64_t more_rows = 0;
  Sizes sizes = {};            // of dimensions behind the first
  bool longer_lists = false;   // one item more in every list that is an argument and holds tensors
  bool mirrored = false;       // the values are the other way round within their range
  bool turned_around = false;  // the values are only in another order
  bool full_masks = false;     // masks (only zeros and ones) hide nothing
  bool after_check = false;    // to be tried where a check ended another one
};

/// What to try with these inputs, in this order: the first that the model takes is enough.
std::vector<Variation> variations_of(nb::handle inputs);
/// Inputs that are larger and smaller than those, for what sizes decide.
std::vector<Variation> other_sides(nb::handle inputs);
/// The same direction, further: a third size.
Variation farther(nb::handle inputs, Variation variation);

/// Further ones of the kind, for numbers that happen to be alike: the same direction further, other values, both.
std::vector<Variation> more_like(nb::handle inputs, const Variation& variation);

/// "1 row more, 8 as 16": how the inputs differ beside their values; empty if they do not.
std::string text_of(const Variation& variation);

bool is_list_of_tensors(nb::handle value);
bool has_masks(nb::handle inputs);

/// A copy of the arguments (a tuple or a dict) with other values (of integers, those that were seen) and other sizes.
nb::object vary(nb::handle arguments, const Variation& variation);

}  // namespace modulize
