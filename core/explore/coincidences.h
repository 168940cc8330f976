// Numbers that came out alike in all captures, and that Python may have used in a way that nothing records: an index
// into a list shows in another capture only if the number is another one there.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// By the node of one graph that yields a whole number, or several: a shape.
using Numbers = std::unordered_map<NodeId, std::vector<std::int64_t>>;

struct Coincidence {
  NodeId node;
  bool is_size;         // the first of the sizes that the node yields, else the number that it yields
  std::int64_t number;  // in all captures
  bool is_by_values;    // no sizes tell it: the number of rows that were found
};

/// What further captures have shown of the numbers of a first one.
class Coincidences {
 public:
  Coincidences(const Graph& first, const Numbers& numbers);

  /// `expected`: with the names of the first graph.
  void compare(const Graph& expected, const Graph& second, const Numbers& numbers);

  /// Numbers that no node of the first graph reads, made of numbers that were others or of values, and alike all the
  /// same. What a node reads is compared where it goes.
  std::vector<Coincidence> left(const Graph& first) const;

 private:
  std::map<std::string, std::vector<std::int64_t>> first_;  // by name
  std::set<std::pair<std::string, std::size_t>> changed_;   // name, which of its numbers
};

}  // namespace modulize
