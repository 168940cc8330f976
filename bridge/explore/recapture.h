// The further captures of a running one, with other values and sizes.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/explore/explore.h"
#include "bridge/explore/variation.h"

namespace modulize {

/// A capture with other sizes that did what was expected until sizes decided otherwise.
struct OtherSizes {
  Variation variation;
  Capture capture;
  std::string check;  // the name of the check in the first graph (is_size_decision)
  NodeId other;       // and where it stands in `capture`
};

/// Gives the options the inputs of another capture, for which nobody knows how decisions come out.
void vary_inputs(CaptureOptions& options, const Variation& variation);

/// The second capture. `predict` gives the graph that a capture with these decisions is expected to record. Throws
/// KeepRequest where it does not. Running captures only.
/// `outcomes`: all decisions that are known. Leaks that turn out to be harmless are erased from `first`. True if one
/// capture with other sizes and values went through all of it; what ended the others is added to `others`, the first
/// for each check.
bool recapture(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict,
               const std::unordered_map<std::string, bool>& outcomes, std::vector<OtherSizes>& others);

/// While one lives, the mode flags of all modules that are traced through are the other way. The leaves keep theirs:
/// batch norm refuses to train on one row.
class FlippedModes {
 public:
  /// `read`: leaves whose flag forward reads are flipped all the same.
  FlippedModes(nb::handle root, const std::vector<ModeRead>& read);
  ~FlippedModes();
  FlippedModes(const FlippedModes&) = delete;
  FlippedModes& operator=(const FlippedModes&) = delete;

 private:
  void set(bool flipped);
  std::vector<std::pair<nb::object, bool>> flags_;
};

}  // namespace modulize
