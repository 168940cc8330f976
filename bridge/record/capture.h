// What both captures return.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/python/python.h"
#include "bridge/record/inner_calls.h"
#include "bridge/record/journal.h"
#include "bridge/record/sites.h"
#include "bridge/values/module_scan.h"
#include "ir/graph.h"
#include "support/error.h"

namespace modulize {

class OutsideState;

/// A module or function that is called as a whole though its inside could be seen, and why.
struct Kept {
  std::string what;   // the module's path, or the function's name
  std::string scope;  // where it is called
  std::string reason;
  std::string where;  // "file:line" of the first call
};

/// Python read a module's mode flag, and may have decided something by it.
struct ModeRead {
  std::string path;  // of the flag: "layer1.training"
  bool flag;
  std::string where;
};

/// Python decided something by a value: a truth node of the graph.
struct Decision {
  NodeId node;
  /// The same in every capture of the model: scope, place in the code, and how often it was reached before.
  std::string key;
  bool outcome;
};

/// A function that ran, and where it stood.
struct RunningCode {
  nb::object code;
  int line;
};

/// What could be kept whole: a Python function, a module, or a statement of the root's own forward.
struct KeepCandidate {
  nb::object code = {};     // of a function; invalid otherwise
  std::string module = {};  // its path
  int line = 0;             // of a statement, to be kept with the loops around it; 0 otherwise
};

/// Thrown where a capture cannot go on unless something around is kept whole. As an Error it says so to the user.
class KeepRequest : public Error {
 public:
  KeepRequest(const std::string& message, std::string why, std::vector<KeepCandidate> candidates)
      : Error(ErrorCode::CaptureError, message), why(std::move(why)), candidates(std::move(candidates)) {}
  std::string why;                        // for the report: "Tensor.numpy()"
  std::vector<KeepCandidate> candidates;  // innermost first
  /// Statements are candidates: what differs is how often something runs for the items of a list, and the items are
  /// what it yields. What else a statement yields (None, a text, a number of pieces) would be frozen.
  bool takes_statements = false;
  /// "file:line" of a generator that it was thrown through: it has ended.
  std::string generator;
};

struct KeptFunction {
  nb::object function;  // of Python
  std::string why;
  bool is_statement = false;  // that a statement of the root's forward has become
};

/// What is kept whole because of such requests.
struct KeptWhole {
  std::vector<KeptFunction> functions;
  std::map<std::string, std::string> modules;  // path -> why
  /// First and last line of statements of the root's forward -> why; `forward` calls a function for each of them.
  std::map<std::pair<int, int>, std::string> statements;
  nb::object forward;  // in place of the root's; invalid without statements
  /// Why the model's own forward is called as a whole. Only what it calls is prepared then.
  std::optional<std::string> root;
};

/// Forward asked whether something outside of it is so: torch.jit.is_tracing(), ...
struct AmbientQuestion {
  std::string question;  // the function
  NodeId region;         // the region it was asked in
  NodeId value;          // asks
  bool answer;
};

/// A captured model. The graph is as recorded: no pass has run.
struct Capture {
  Graph graph;
  ObjectTable objects;
  nb::object root;          // the user's model, unchanged
  nb::object forward_code;  // that runs as its forward
  /// Tensors that belong to no module (closure constants): path in the prepared model -> tensor.
  std::map<std::string, nb::object> constants;
  std::vector<Kept> kept;
  /// Of modules that are traced through elsewhere, by code that is kept whole.
  InnerCalls inner_calls;
  KeptSites sites;  // in code that is kept whole
  bool is_root_kept = false;
  std::vector<ModeRead> mode_reads;
  /// "file:line" -> the functions that ran when a node with this source was first recorded, innermost first. Running
  /// captures only.
  std::unordered_map<std::string, std::vector<RunningCode>> codes;
  std::vector<Decision> decisions;
  std::vector<AmbientQuestion> ambient_questions;
  nb::object output;     // what forward returned (running)
  nb::object arguments;  // name -> the copy of an argument that forward got, with what it wrote there (running)
  /// "path.attribute" of module state that forward wrote (put back since).
  std::vector<std::string> written_state;
  /// Those of them that nodes write or that were not to be written: attributes of modules that were traced through.
  std::vector<std::string> state_writes;
  /// Parameters and plain tensor attributes that forward wrote in place (put back since).
  std::vector<nb::object> overwritten;
  /// What forward wrote outside of the model (put back since), or what tells something new at every call. Symbolic
  /// captures only.
  std::vector<std::string> outside_suspects;
  std::shared_ptr<OutsideState> outside;  // holds what forward left; null where there are no suspects
};

/// Which attributes of modules ("path.name") are state.
struct StatePlan {
  std::set<std::string> live;    // read from the prepared model at every call, and written
  std::set<std::string> silent;  // not written: what a call leaves there changes no result
};

/// What prepare_model was asked, checked by the Python skin.
struct CaptureOptions {
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
  /// The model's own forward is called as a whole from the start, for this reason.
  std::optional<std::string> keep_root = {};
  /// The modules that kept code calls are prepared too.
  bool prepares_inner = true;
  /// Of the root. A capture leaves the tree as it was, so that one serves all captures of a preparation.
  const ModuleScan* scan = nullptr;  // borrowed; none: made anew
  const KeptWhole* kept = nullptr;   // borrowed
  /// Further inputs that the graph must hold for. The first ones may be made longer where they are lists, unless these
  /// inputs are what other code calls the module with.
  const std::vector<InnerCall>* more_calls = nullptr;  // borrowed
  const StatePlan* state = nullptr;  // borrowed; none: every attribute is written and none is read live
  /// Python's and numpy's generators give other numbers than outside.
  bool other_random_numbers = false;
  /// Calls that an operator of Python made stand in the graph as that operator, as torch.fx has them.
  bool spell_operators = false;
  /// Outcomes of decisions by key; those that are not here come out as they do.
  const std::unordered_map<std::string, bool>* outcomes = nullptr;  // borrowed
  /// Questions about the world around forward (explore/ambient.h): those that get the other answer, those whose answer
  /// makes no difference, and those that are decisions. All others become checks.
  std::set<std::string> flipped = {}, silent = {}, decided = {};
  /// Places where forward reads another dtype than the tensor's (DtypeReads::tried).
  const std::set<std::string>* tried_dtypes = nullptr;  // borrowed
  /// What the next capture is made for, and where that is noted.
  CaptureCause cause = {};
  Journal* journal = nullptr;  // borrowed; none: nowhere
  void because(CaptureReason reason, std::string detail = {}) {
    cause.reason = reason;
    cause.detail = std::move(detail);
  }
};

/// Captures the model with all that it takes: the other outcomes of its decisions become branches, what cannot be
/// captured is kept whole at the smallest place, and with `verify` a second capture with other values and, where the
/// model takes it, another batch size finds what the first froze. Throws as capture_model does.
void capture_completely(nb::handle root, CaptureOptions options, bool verify, Capture& capture);

/// The second capture. `predict` gives the graph that a capture with these decisions is expected to record. Throws
/// KeepRequest where it does not. Running captures only.
using Prediction = std::function<Graph(const Capture& second)>;
/// `outcomes`: all decisions that are known. Leaks that turn out to be harmless are erased from `first`.
void recapture(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict,
               const std::unordered_map<std::string, bool>& outcomes);

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

/// Captures `root`. The model, its inputs, the random state and everything patched on the way are as before when this
/// returns or throws. Throws Error, or nb::python_error with the exception that the user's forward raised.
void capture_model(nb::handle root, const CaptureOptions& options, Capture& capture);

/// False if the model cannot be captured with these options, which says nothing about an earlier capture.
bool try_capture(nb::handle root, const CaptureOptions& options, Capture& capture);

}  // namespace modulize
