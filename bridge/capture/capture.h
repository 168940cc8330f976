// One capture: what it is asked, and what it gives back (record/capture.h).
#pragma once

#include "bridge/record/capture.h"
#include "bridge/record/journal.h"
#include "bridge/record/stand_ins.h"

namespace modulize {

/// What prepare_model was asked, checked by the Python skin: the same for all captures of a preparation.
struct PreparationOptions {
  bool is_running() const { return !example_inputs.is_none() || !example_kwargs.is_none(); }

  /// None: symbolic capture. A tuple: capture by running.
  nb::object example_inputs = nb::none();
  nb::object example_kwargs = nb::none();
  nb::object concrete_args = nb::none();  // dict or None
  nb::object modules_to_exclude = nb::none();
  nb::object module_classes_to_exclude = nb::none();
  nb::object functions_to_exclude = nb::none();
  /// "branch" (explored), "keep", "specialize", "error": what control flow on values becomes.
  std::string on_dynamic = "branch";
  /// What forward returns goes through this function of Python; or None.
  nb::object plain_outputs = nb::none();
  /// Attention layers are traced through.
  bool decompose_attention = false;
  /// The calls of blocks stand in the graph (ir/blocks.h).
  bool keep_blocks = false;
  /// Calls that an operator of Python made stand in the graph as that operator, as torch.fx has them.
  bool spell_operators = false;
  /// The model's own forward is called as a whole from the start, for this reason.
  std::optional<std::string> keep_root = {};
  /// The modules that kept code calls are prepared too.
  bool prepares_inner = true;
};

/// The same, and what this one capture is made with. What is borrowed outlives the capture.
struct CaptureOptions : PreparationOptions {
  /// Of the root. A capture leaves the tree as it was, so that one serves all captures of a preparation.
  const ModuleScan* scan = nullptr;  // borrowed; none: made anew
  /// What the code of its modules names, likewise.
  std::shared_ptr<const OutsideState> outside = {};
  /// What an earlier capture left outside of the model is there; borrowed, none: nothing.
  const OutsideChanges* found = nullptr;
  const KeptWhole* kept = nullptr;  // borrowed
  /// The model that `root` is a part of, which its code may hold; or None.
  nb::object whole = nb::none();
  /// What kernels yield, and how decisions came out for these inputs (record/stand_ins.h). Both borrowed; without the
  /// first every kernel is run, without the second these inputs are others.
  KnownCalls* known_calls = nullptr;
  std::unordered_map<std::string, bool>* known_outcomes = nullptr;
  bool with_values = false;  // every kernel is run, and learnt from
  /// Further inputs that the graph must hold for. The first ones may be made longer where they are lists, unless these
  /// inputs are what other code calls the module with.
  const std::vector<InnerCall>* more_calls = nullptr;  // borrowed
  const StatePlan* state = nullptr;  // borrowed; none: every attribute is written and none is read live
  /// Python's and numpy's generators give other numbers than outside.
  bool other_random_numbers = false;
  /// Outcomes of decisions by key; those that are not here come out as they do.
  const std::unordered_map<std::string, bool>* outcomes = nullptr;  // borrowed
  /// Outcomes of decisions on values that are not there, in all captures of the root.
  std::shared_ptr<std::unordered_map<std::string, bool>> unknown_outcomes =
      std::make_shared<std::unordered_map<std::string, bool>>();
  /// Questions about the world around forward (explore/ambient.h): those that get the other answer, those whose answer
  /// makes no difference, and those that are decisions. All others become checks.
  std::set<std::string> flipped = {}, silent = {}, decided = {};
  /// Places where forward reads another dtype than the tensor's (dtype_place).
  const std::set<std::string>* tried_dtypes = nullptr;  // borrowed
  /// What the next capture is made for, and where that is noted.
  CaptureCause cause = {};
  Journal* journal = nullptr;  // borrowed; none: nowhere
  void because(CaptureReason reason, std::string detail = {}) {
    cause.reason = reason;
    cause.detail = std::move(detail);
  }
};

/// All the arguments of the example, in one tuple.
inline nb::object given_to(const CaptureOptions& options) {
  return nb::make_tuple(options.example_inputs, options.example_kwargs, options.concrete_args);
}

/// Whose worlds a run of forward may change, beside that of the root.
inline nb::object worlds_around(const CaptureOptions& options) {
  return nb::make_tuple(given_to(options), options.whole);
}

/// Captures `root`. The model, its inputs, the random state and everything patched on the way are as before when this
/// returns or throws. Throws Error, or nb::python_error with the exception that the user's forward raised.
void capture_model(nb::handle root, const CaptureOptions& options, Capture& capture);

/// False if the model cannot be captured with these options, which says nothing about an earlier capture.
bool try_capture(nb::handle root, const CaptureOptions& options, Capture& capture);

}  // namespace modulize
