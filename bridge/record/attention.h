// What becomes of the calls that happen while a capture runs: recorded, only watched, or let through.
#pragma once

#include <optional>
#include <string>

#include "bridge/python/python.h"

namespace modulize {

class Recorder;

/// Of one recorder. Changed by the guards below and by who puts the function mode on torch's stack.
struct Attention {
  bool is_paused = false;                 // nothing is recorded
  bool watches = false;                   // not recorded, but what torch is about to write is copied first
  const std::string* observed = nullptr;  // borrowed: the region of sites that runs; null: none
  const std::string* region = nullptr;    // the same, in what the code of the region calls too
  PyObject* function_mode = nullptr;      // borrowed: ours; null where torch has no stack of modes

  /// Code runs that is not recorded, while the function mode is on the stack.
  bool is_watching() const { return is_paused && watches; }
};

// The guards need the GIL and may not outlive the recorder.

/// While one lives, nothing is recorded on this thread and our function mode is off the stack.
class Pause {
 public:
  explicit Pause(Recorder& recorder);
  ~Pause();
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  Attention& attention_;
  bool was_paused_;
  PyObject* popped_ = nullptr;
};

/// The same within the function mode, which torch has already taken off its stack.
class PauseFlag {
 public:
  explicit PauseFlag(Recorder& recorder);
  ~PauseFlag() { attention_.is_paused = was_; }
  PauseFlag(const PauseFlag&) = delete;
  PauseFlag& operator=(const PauseFlag&) = delete;

 private:
  Attention& attention_;
  bool was_;
};

/// While one lives, nothing is recorded, and calls of modules are noted as examples to prepare these with.
class Observe {
 public:
  /// `region`: of the sites that are noted; null: nothing is noted. Borrowed.
  /// `watches`: Parameters that it writes are put back after the capture.
  Observe(Recorder& recorder, const std::string* region, bool watches);
  ~Observe();
  Observe(const Observe&) = delete;
  Observe& operator=(const Observe&) = delete;

 private:
  std::optional<Pause> pause_;
  std::optional<PauseFlag> flag_;  // our function mode stays: it sees what is called
  Attention& attention_;
  const std::string *was_observed_, *was_region_;
  bool was_watching_;
};

}  // namespace modulize
