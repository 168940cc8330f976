// A random graph that the verifier accepts, made of bytes: what a capture could record, and a good deal it never would.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "ir/graph.h"

namespace modulize::fuzz {

/// Choices read from bytes, front to back. Once they are used up every choice is the first one, so that a short input
/// makes a small graph and a prefix means the same in every input.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  bool at_end() const { return at_ == size_; }
  std::uint8_t byte() { return at_end() ? 0 : data_[at_++]; }
  /// 0 to n - 1; n > 0.
  std::size_t below(std::size_t n) {
    std::size_t value = byte();
    if (n > 256) value = value << 8 | byte();
    return value % n;
  }
  bool one_in(std::size_t n) { return below(n) == n - 1; }
  /// The next bytes, at most `size` of them, as choices of their own.
  Choices take(std::size_t size) {
    size = std::min(size, size_ - at_);
    at_ += size;
    return Choices(data_ + at_ - size, size);
  }
  template <class List>
  const auto& pick(const List& list) {
    return *(std::begin(list) + static_cast<std::ptrdiff_t>(below(std::size(list))));
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_, at_ = 0;
};

Graph random_graph(const Choices& choices);

}  // namespace modulize::fuzz
