// What a call may do besides yielding its result.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace modulize {

/// In the order of how much a caller must fear.
enum class Access : std::uint8_t { none, reads, writes, unknown };

enum class Yields : std::uint8_t {
  fresh,      // nothing that was there before: no storage, no object
  may_alias,  // perhaps an argument, or a view or a part of one
  decides,    // something that Python goes on by: a bool, a number or a structure that may be another in another call
};

enum class Raises : std::uint8_t {
  never,
  by_shapes,  // what the shapes and types of its arguments do not allow
  by_values,  // by the values of tensors too, or where there are fewer rows
};

/// Unless something else is said, a call reads what it is given and refuses wrong shapes.
struct Effects {
  Access arguments = Access::reads;    // the contents of tensors and containers that it is given
  Access objects = Access::none;       // attributes and items of other objects
  Access module_state = Access::none;  // attributes of modules, and what their hooks do
  Access parameters = Access::none;    // the contents of Parameters that it is not given
  Access buffers = Access::none;       // likewise of buffers
  Access gradients = Access::none;     // `grad`, hooks on gradients, whether a tensor requires one
  Access classes = Access::none;       // attributes of classes
  Access globals = Access::none;       // globals and closures, and the modes that torch runs in
  Access generators = Access::none;    // random numbers: the next draw is another one
  Yields yields = Yields::fresh;
  Raises raises = Raises::by_shapes;

  /// May a tensor, an object or a class be another after the call?
  constexpr bool may_write_memory() const {
    for (const Access access : {arguments, objects, module_state, parameters, buffers, gradients, classes})
      if (access >= Access::writes) return true;
    return false;
  }
  /// May anything be another, the modes of torch and the next random number among it?
  constexpr bool may_write() const {
    return may_write_memory() || globals >= Access::writes || generators >= Access::writes;
  }
  /// Does it run code that nobody has looked into?
  constexpr bool is_unknown() const { return objects == Access::unknown; }

  friend constexpr bool operator==(const Effects&, const Effects&) = default;
};

/// Of a call about which nothing is known.
inline constexpr Effects kAnything{.arguments = Access::unknown,
                                   .objects = Access::unknown,
                                   .module_state = Access::unknown,
                                   .parameters = Access::unknown,
                                   .buffers = Access::unknown,
                                   .gradients = Access::unknown,
                                   .classes = Access::unknown,
                                   .globals = Access::unknown,
                                   .generators = Access::unknown,
                                   .yields = Yields::decides,
                                   .raises = Raises::by_values};

}  // namespace modulize
