// Region of the world: the contents of buffers.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "bridge/values/module_scan.h"

namespace modulize {

/// The contents as they were at construction, by their bytes: layers write their statistics without counting that as a
/// change. Which buffers a module has belongs to its attributes. GIL held; throws nb::python_error.
class Buffers {
 public:
  /// `scan` must outlive this.
  explicit Buffers(const ModuleScan& scan);
  /// Puts everything back; the paths of what had changed are added to `changed`.
  void restore(std::vector<std::string>& changed);

 private:
  struct Saved {
    nb::object live;
    const std::string* module;
    nb::object name;
    nb::object copy;  // a tensor; invalid where the bytes are copied
    std::unique_ptr<char[]> bytes;
    std::size_t size;  // of `bytes`
  };
  static bool save_bytes(Saved& buffer);
  static bool is_changed(const Saved& buffer);
  static nb::object copy_of(const Saved& buffer);

  std::vector<Saved> buffers_;
};

}  // namespace modulize
