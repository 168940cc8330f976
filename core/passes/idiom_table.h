// The compositions that `recognise_idioms` knows, in the text form.
#pragma once

#include <string_view>
#include <vector>

namespace modulize {

/// A graph whose output is a pair: what people write, and the one call it becomes.
///
/// A parameter of type `tensor` stands for any tensor of the graph, one of type `number` for a number that is written
/// out, any other for anything. Further ones are made of those: `w.shape` is the shape of `w`, which must be a tensor
/// that the model holds; `s.reciprocal` is 1 / s.
struct Idiom {
  std::string_view name;  // for the report
  std::string_view text;
};

/// Larger ones before those that they contain. Static storage.
const std::vector<Idiom>& idioms();

}  // namespace modulize
