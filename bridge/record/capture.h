// What both captures return.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/python/python.h"
#include "bridge/record/inner_calls.h"
#include "bridge/values/module_scan.h"
#include "explore/coincidences.h"
#include "explore/guards.h"
#include "ir/graph.h"
#include "ir/kept_sites.h"
#include "support/error.h"

namespace modulize {

class OutsideChanges;
class OutsideState;

/// A module or function that is called as a whole though its inside could be seen, and why.
struct Kept {
  std::string what;   // the module's path, or the function's name
  std::string scope;  // where it is called
  std::string reason;
  std::string where;  // "file:line" of the first call
};

/// Python decided something by a value: a truth node of the graph.
struct Decision {
  NodeId node;
  /// The same in every capture of the model: scope, place in the code, and how often it was reached before.
  std::string key;
  bool outcome;
  bool natural;               // how it comes out by itself: with these values, in an ordinary call
  std::string question = {};  // what it asks about the world around forward; empty where a value decides
  bool is_unknown = false;    // the value is not there: on the meta device
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
  NodeId value;          // asks
  bool answer;
};

/// What forward asks on the meta device, where tensors have no values; "file:line" each.
struct MetaDevice {
  std::vector<std::string> values;     // the model itself cannot run
  std::vector<std::string> as_on_cpu;  // where it runs: that is another device than this one
  bool is_refused = false;             // a value was asked for that nothing else answers
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
  KeptSites sites;                      // in code that is kept whole
  std::set<std::string> without_modes;  // regions of sites that call layers whose kernels a function mode turns off
  bool is_root_kept = false;
  std::vector<ModeRead> mode_reads;
  /// "file:line" -> the functions that ran when a node with this source was first recorded, innermost first. Running
  /// captures only.
  std::unordered_map<std::string, std::vector<RunningCode>> codes;
  std::vector<Decision> decisions;
  MetaDevice on_meta;
  /// The whole numbers that nodes yield. Running captures only.
  Numbers numbers;
  std::vector<AmbientQuestion> ambient_questions;
  nb::object output;     // what forward returned (running)
  nb::object arguments;  // name -> the copy of an argument that forward got, with what it wrote there (running)
  /// "path.attribute" of module state that forward wrote (put back since).
  std::vector<std::string> written_state;
  /// Those of them that nodes write or that were not to be written: attributes of modules that were traced through.
  std::vector<std::string> state_writes;
  /// Those of them that forward makes or deletes.
  std::set<std::string> optional_state;
  /// Parameters and plain tensor attributes that forward wrote in place (put back since).
  std::vector<nb::object> overwritten;
  /// What forward wrote outside of the model (put back since), or what tells something new at every call, for people.
  /// Symbolic captures only.
  std::vector<std::string> outside_suspects;
  std::shared_ptr<OutsideChanges> outside;  // holds what forward left; null where that is nothing
};

/// Which attributes of modules ("path.name") are state.
struct StatePlan {
  std::set<std::string> live;      // read from the prepared model at every call, and written
  std::set<std::string> optional;  // those of the live ones that may not be there
  std::set<std::string> silent;    // not written: what a call leaves there changes no result
};

}  // namespace modulize
