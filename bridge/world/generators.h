// Region of the world: generators of random numbers, torch's, Python's, numpy's, and those that the model holds.
#pragma once

#include <string>
#include <vector>

#include "bridge/values/module_scan.h"

namespace modulize {

/// The states as they were at construction. GIL held.
class Generators {
 public:
  /// `held`: further generators, beside the process's and those in attributes of modules.
  Generators(const ModuleScan& scan, const std::vector<nb::object>& held);
  /// Other numbers from Python's and numpy's, which nothing records: what forward makes of them shows then.
  void draw_others();
  void restore();

 private:
  struct Held {
    nb::object generator, state;
  };
  void save(nb::handle generator);

  nb::object torch_, cuda_, python_, numpy_, numpy_state_;  // cuda_, numpy_: invalid where not in use
  std::vector<Held> held_;
};

}  // namespace modulize
