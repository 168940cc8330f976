// The captures of one preparation and why each was made: for the report, for MODULIZE_LOG and for MODULIZE_DUMP.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/python/typed.h"
#include "ir/graph.h"
#include "passes/pipeline.h"

namespace modulize {

enum class CaptureReason : std::uint8_t {
#define MODULIZE_CAPTURE_REASON(name, said, text) name,
#include "bridge/record/capture_reasons.def"
#undef MODULIZE_CAPTURE_REASON
};

struct CaptureReasonRow {
  std::string_view name, said, text;
};
inline constexpr CaptureReasonRow kCaptureReasons[] = {
#define MODULIZE_CAPTURE_REASON(name, said, text) {#name, said, text},
#include "bridge/record/capture_reasons.def"
#undef MODULIZE_CAPTURE_REASON
};

/// What a capture is made for.
struct CaptureCause {
  CaptureReason reason = CaptureReason::first;
  std::string detail = {};  // the place of the decision, what is kept, how the inputs differ; may be empty
  std::size_t round = 0;    // a new one begins where more is kept whole, or only another side writes an attribute
  std::string module = {};  // path of the captured root in the model

  const CaptureReasonRow& row() const { return kCaptureReasons[static_cast<std::size_t>(reason)]; }
};

class Journal {
 public:
  /// Follows MODULIZE_LOG and MODULIZE_DUMP as they are now. Throws Error(ArgumentError) where they cannot be followed.
  Journal();

  /// A capture has ended: `error` is empty, or what ended it, and the graph is what was recorded until then.
  void captured(const CaptureCause& cause, const Graph& graph, const std::string& error, double seconds);
  /// The graph that the passes are given. `module`: path of its root in the model.
  void begin_passes(const std::string& module, const Graph& graph);
  void passed(const std::string& module, const PassRun& run, const Graph& graph);
  /// Does anybody look at what passes do?
  bool watches_passes() const;

  /// The captures in their order, as a list of a dict each.
  ListOf<Record> as_list() const;
  /// Throws Error where a file could not be written. Not earlier: a capture that fails is one that says something about
  /// the model.
  void require_written() const;

 private:
  struct Entry {
    CaptureCause cause;
    std::size_t nodes;
    std::string error;
    double seconds;
  };
  void dump(const std::string& name, const std::string& module, const std::string& ending, const std::string& head,
            const Graph& graph);

  std::vector<Entry> entries_;
  std::string folder_;  // of this preparation; empty: nothing is dumped
  std::size_t files_ = 0;
  std::string unwritten_;
};

/// Seconds since the last call.
class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> elapsed = now - last_;
    last_ = now;
    return elapsed.count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace modulize
