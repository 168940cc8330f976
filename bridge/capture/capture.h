// What both captures return.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bridge/support/python.h"
#include "ir/graph.h"

namespace modulize {

/// A module or function that is called as a whole though its inside could be seen, and why.
struct Kept {
  std::string what;   // the module's path, or the function's name
  std::string scope;  // where it is called
  std::string reason;
  std::string where;  // "file:line" of the first call
};

/// A check that a module's mode flag is what it was, because Python decided something by it.
struct ModeCheck {
  std::string path;
  NodeId flag;   // reads it
  NodeId check;
};

/// A captured model. The graph is as recorded: no pass has run.
struct Capture {
  Graph graph;
  ObjectTable objects;
  nb::object root;  // the user's model, unchanged
  /// Tensors that belong to no module (closure constants): path in the prepared model -> tensor.
  std::map<std::string, nb::object> constants;
  std::vector<Kept> kept;
  std::vector<ModeCheck> mode_checks;
  nb::object output;  // what forward returned (running)
  /// "path.attribute" of module state that forward wrote (put back since).
  std::vector<std::string> written_state;
};

/// What prepare_model was asked, checked by the Python skin.
struct CaptureOptions {
  /// None: symbolic capture. A tuple: capture by running.
  nb::object example_inputs = nb::none();
  nb::object example_kwargs = nb::none();
  nb::object concrete_args = nb::none();  // dict or None
  nb::object modules_to_exclude = nb::none();
  nb::object module_classes_to_exclude = nb::none();
  nb::object functions_to_exclude = nb::none();
};

/// Captures a second time with other values and, where the model takes it, another batch size, and throws CaptureError
/// where a value or size was frozen into the first capture without anything that checks it. Running captures only.
void recapture(nb::handle root, const CaptureOptions& options, const Capture& first);

/// Captures again in the other mode, if forward decides by the mode, and drops the mode checks where both modes record the
/// same. The leaves keep their mode: batch norm refuses to train on one row.
void recapture_other_mode(nb::handle root, const CaptureOptions& options, Capture& first);

/// Captures `root`. The model, its inputs, the random state and everything patched on the way are as before when this
/// returns or throws. Throws Error, or nb::python_error with the exception that the user's forward raised.
void capture_model(nb::handle root, const CaptureOptions& options, Capture& capture);

}  // namespace modulize
