// Cyclic garbage collection off while many objects are made that all stay alive.
#pragma once

#include "bridge/python/python.h"

namespace modulize {

/// While one exists in the outermost call, the collector does not run: it would walk every module made so far again and
/// again (three quarters of the time for a graph of 10,000 nodes). Nests; leaves a collector that was off alone.
class GcPause {
 public:
#if PY_VERSION_HEX >= 0x030A0000
  GcPause() : resume_(PyGC_Disable() != 0) {}
  ~GcPause() {
    if (resume_) PyGC_Enable();
  }
#else
  GcPause() : gc_(nb::module_::import_("gc")), resume_(nb::cast<bool>(gc_.attr("isenabled")())) {
    gc_.attr("disable")();
  }
  ~GcPause() {
    if (resume_) PyObject_CallMethod(gc_.ptr(), "enable", nullptr);
  }
#endif
  GcPause(const GcPause&) = delete;
  GcPause& operator=(const GcPause&) = delete;

 private:
#if PY_VERSION_HEX < 0x030A0000
  nb::module_ gc_;
#endif
  bool resume_;
};

}  // namespace modulize
