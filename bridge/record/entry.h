// Where the user's code ends and ours begins: what is recorded outside of forward has no line.
#pragma once

#include "bridge/python/python.h"

namespace modulize {

/// While one lives, the Python code that made it is the entry of this thread's captures: places are looked for below
/// it. Defined in places.cpp. GIL held.
class EntryMarker {
 public:
  EntryMarker();
  ~EntryMarker();
  EntryMarker(const EntryMarker&) = delete;
  EntryMarker& operator=(const EntryMarker&) = delete;

  static bool is_entry(PyCodeObject* code);

 private:
  nb::object code_;  // invalid where C++ alone runs
  PyObject* previous_;
};

}  // namespace modulize
