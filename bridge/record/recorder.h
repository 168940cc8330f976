// Turns the calls of one forward into a Graph. Both captures record through it; they differ only in whether values
// exist.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "bridge/record/capture.h"
#include "bridge/record/dtypes.h"
#include "bridge/record/function_names.h"
#include "bridge/record/given_modules.h"
#include "bridge/record/objects.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/torch_types.h"
#include "bridge/values/traced_number.h"

namespace modulize {

class Checkpoint;
class StateWrites;
enum class CallKind : std::uint8_t;  // boundary/call_outside.h

enum class CaptureMode : std::uint8_t { running, symbolic };

class Regions;

/// Records into one Capture. At most one is active a thread (`current()`); other threads are not affected by it.
/// All methods need the GIL and throw nb::python_error or Error.
class Recorder {
 public:
  /// `world`: what is to be put back afterwards; all that the recorder is given must outlive it.
  Recorder(nb::handle root, CaptureMode mode, const ModuleScan& scan, Checkpoint& world, Capture& capture);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// The recorder that records on this thread right now; null when none, or while a leaf runs.
  static Recorder* recording();
  /// The recorder of this thread even while paused.
  static Recorder* current();
  /// The recorder of this thread while code that is kept whole runs, whose calls of modules are noted.
  static Recorder* observing();

  CaptureMode mode() const { return mode_; }
  std::uint32_t id() const { return id_; }
  Graph& graph() { return capture_.graph; }
  Capture& capture() { return capture_; }
  const ModuleScan& scan() const { return scan_; }
  KnownObjects& objects() { return objects_; }
  Checkpoint& world() { return world_; }
  StateWrites* state = nullptr;  // borrowed; null where the modules' attributes are not followed

  // --- arguments and results ----------------------------------------------------------------------
  /// The Value of a Python object as it stands in an argument. Creates get_attr and getitem nodes as needed.
  Value to_value(PyObject* object);
  /// True if the object is, or contains, anything that a node made.
  bool has_origin(PyObject* object);
  /// The node that made this object, kNoNode if none. Never creates nodes but for elements of sizes.
  NodeId node_of(PyObject* object);
  /// Makes `result`, the value of `node`, recognisable when it comes back as an argument. New reference. `in_place`:
  /// the call wrote its first argument, so that an object known before is renamed rather than aliased.
  PyObject* wrap_result(PyObject* result, NodeId node, bool in_place);
  /// A symbolic value of `node`: a new reference to a Proxy.
  PyObject* make_proxy(NodeId node);

  // --- recording ------------------------------------------------------------------------------------
  /// A node in the current scope, with the user's current line.
  NodeId add_node(Node node);
  /// A node like add_node whose type is known.
  NodeId add_function(std::string target, ValueList args, ValueType type);
  /// A node for the prepared model itself.
  NodeId root_module();
  /// A node for a module of the model.
  NodeId module_node(const std::string& path, PyObject* module);
  /// The brackets around a call. kNoNode if the arguments do not fit forward.
  NodeId begin_block(const std::string& path, PyObject* module, PyObject* const* args, Py_ssize_t nargs,
                     PyObject* kwnames);
  void end_block(NodeId begin, PyObject* result);
  Value block_value(PyObject* object, bool is_result, int depth = 0);
  /// `callable(*args, **kwargs)` as a call_function or call_method node. `args` is a tuple, `kwargs` a dict or null.
  NodeId add_call(PyObject* callable, const CallName& name, PyObject* args, PyObject* kwargs);
  /// A call that torch dispatched to us: records and runs it (running), or only records it (symbolic). New reference,
  /// null with a Python error set.
  PyObject* torch_call(PyObject* function, PyObject* args, PyObject* kwargs);
  /// A module's __call__. Same contract.
  PyObject* module_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
  /// A call of a Python function that stays one node. `kept` says why, for the report; null for functions that have no
  /// inside (math.*). Same contract.
  PyObject* opaque_call(CallKind kind, PyObject* function, PyObject* args, PyObject* kwargs, const char* kept);

  /// The check that `value` still is `expected` when the prepared model runs; `text` says what was assumed.
  void add_check(NodeId value, Value expected, const std::string& text);
  /// The same of what the user's code that runs now has taken for granted: the check says where.
  void add_check_here(NodeId value, Value expected, const std::string& text);
  /// Python asks for the truth of what `value` yields, which is `natural` here: a decision. Returns the outcome to go
  /// on with.
  bool decide(NodeId value, bool natural);
  /// The same of a function of numbers that answers yes or no: of sizes, that is an assumption.
  bool decide_number(NodeId value, bool natural);
  /// Was the number, or one that it was made of, read from a tensor?
  bool is_from_value(const Value& value) const {
    return value.is_node() && value.as_node() < from_value_.size() && from_value_[value.as_node()];
  }
  /// Python learns the number by `what`: of a size that is a leak, of a value the end.
  void number_leak(const char* what, PyObject* number);
  /// The check that the object that `value` yields still has the structure (structure_of) that it had.
  void add_structure_check(NodeId value, nb::handle structure, const std::string& text);
  /// The check that what kept code has made is of the kind that it was, as Python decides by it: where a further
  /// capture makes something else, more is kept. `follows_numbers`: those in it become traced numbers.
  void check_made(nb::handle value, NodeId node, const std::string& text, bool follows_numbers);
  /// The number of `node` counts as read from a tensor: what Python decides by it is a decision on a value.
  void mark_read_from_value(NodeId node);
  PyObject* number_operation(const char* name, PyObject* const* operands, int count, PyObject* result);
  bool number_decision(const char* name, PyObject* const* operands, int count, bool truth);  // the outcome

  // --- options ---------------------------------------------------------------------------------------
  std::unordered_set<PyObject*> excluded_modules;  // borrowed: the caller holds them
  std::unordered_set<PyObject*> excluded_classes;
  std::unordered_set<PyObject*> excluded_functions;
  std::set<std::string> flipped, silent, decided;  // questions about the world around, see CaptureOptions

  /// "file:line" of the user's code that runs now, or "".
  std::string here();
  /// The same of a node's source, before finish().
  std::string where(SourceId source);
  /// The user's code that runs now, and the offset of its instruction.
  std::optional<std::pair<nb::object, int>> current_site();
  ScopeId scope() const { return scope_; }
  /// Code runs that is not recorded, while the function mode is on the stack.
  bool is_watching() const { return paused_ && watching_; }
  std::string scope_path() const { return capture_.graph.scope(scope_).path; }
  /// " at file:line (in module 'path')", for error messages.
  std::string place();
  /// Throws KeepRequest: `what` needs a value.
  [[noreturn]] void refuse_control_flow(const std::string& what);
  /// Throws KeepRequest where forward would catch what a call raises, and go on. `surely`: not where a context manager
  /// of the user's might.
  void require_uncaught(const char* what, bool surely);
  /// The first refusal of the capture, likewise.
  std::optional<Error> refusal;
  /// What runs now and could be kept whole, innermost first.
  std::vector<KeepCandidate> candidates();
  /// The first request of the capture: forward may have caught the exception that it arrived as.
  std::optional<KeepRequest> request;
  std::string on_dynamic;
  bool spells_operators = false;
  const std::unordered_map<std::string, bool>* outcomes = nullptr;
  std::unordered_map<PyObject*, std::string> kept_modules;            // borrowed module -> why
  std::unordered_map<PyObject*, const KeptFunction*> kept_functions;  // by the function; both borrowed
  /// Classes of torch.nn that are traced through all the same, and functions of torch with what runs in place of them,
  /// recorded. Borrowed keys.
  std::unordered_set<PyObject*> opened_classes;
  /// Calls of modules that are traced through stand in brackets (ir/blocks.h).
  bool keep_blocks = false;
  std::unordered_map<PyObject*, nb::object> opened_functions;
  /// Traced code read `training` of a module. If the very next call takes it as an argument, that argument follows the
  /// flag; otherwise Python decided something by it, which becomes a check.
  void note_training_read(PyObject* module);
  /// Makes the check for a read that no call took.
  void settle_training_read();
  /// For the report: `what` is called as a whole here.
  void note_kept(const std::string& what, const char* reason) { keep(what, reason); }
  /// `flag` as an argument: the mode flag of a module if traced code has read it just now.
  Value flag_value(PyObject* flag) { return mode_flag(flag, static_cast<NodeId>(graph().id_limit())); }
  /// Forward asks whether something outside of it is so, and gets this answer.
  bool ambient(const std::string& question, ValueList args, bool answer);
  /// The Python code that runs, so many frames above, is torch's own.
  bool is_asked_by_torch(int frames_above);
  /// `text` was read as the `type` of `device`.
  void note_device_type(PyObject* device, PyObject* text);
  /// Fills in the sources of all nodes. Call once, at the end.
  void finish();
  /// Drops all nodes from `first` on (a call that raised).
  void rollback(NodeId first);

  /// While one lives, nothing is recorded on this thread and our function mode is off the stack.
  class Pause {
   public:
    explicit Pause(Recorder& recorder);
    ~Pause();

   private:
    Recorder& recorder_;
    bool was_paused_;
    PyObject* popped_ = nullptr;
  };

  /// Called by the function mode, which torch has already taken off its stack.
  class PauseFlag {
   public:
    explicit PauseFlag(Recorder& recorder) : recorder_(recorder), was_(recorder.paused_) { recorder.paused_ = true; }
    ~PauseFlag() { recorder_.paused_ = was_; }

   private:
    Recorder& recorder_;
    bool was_;
  };

  /// While one lives, nothing is recorded, and calls of modules are noted as examples to prepare these with.
  class Observe {
   public:
    /// `region`: of the sites that are noted; null: nothing is noted.
    /// `watches`: Parameters that it writes are put back after the capture.
    Observe(Recorder& recorder, const std::string* region, bool watches)
        : recorder_(recorder),
          was_(recorder.observed_),
          was_region_(recorder.region_),
          was_watching_(recorder.watching_) {
      if (region) recorder.region_ = region;
      recorder.watching_ = region || watches;
      if (recorder.watching_)
        flag_.emplace(recorder);
      else
        pause_.emplace(recorder);
      recorder.observed_ = region;
    }
    ~Observe() {
      recorder_.observed_ = was_;
      recorder_.watching_ = was_watching_;
      recorder_.region_ = was_region_;
    }

   private:
    std::optional<Pause> pause_;
    std::optional<PauseFlag> flag_;  // our function mode stays: it sees what is called
    Recorder& recorder_;
    const std::string *was_, *was_region_;
    bool was_watching_;
  };
  /// Opens a region of sites around code that is kept whole; the text names it in Capture::sites.
  NodeId enter_sites(const std::string& region);
  void leave_sites(NodeId enter);
  /// Before a call of torch while nothing is recorded: Parameters that it writes are put back after the capture.
  void before_unrecorded_call(PyObject* function, PyObject* args, PyObject* kwargs);
  /// A call of torch by code that is observed.
  void note_site(PyObject* function, PyObject* args, PyObject* kwargs);
  /// A module's __call__ by such code: notes its arguments and calls `original` with them. Same contract as
  /// module_call.
  PyObject* inner_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

  /// A module's __call__ while code runs that is not recorded, but watched. Same contract.
  PyObject* watched_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

  /// A layer of torch is about to run in code that is kept whole: where its kernels are others while a function mode is
  /// on the stack, the code around it may have none in the prepared model.
  void note_layer(PyObject* module);
  /// torch.utils.checkpoint has yielded this. It computes its inside once more for the backward pass, so that forward
  /// may write what it yields; recorded through, nothing does.
  void note_checkpointed(PyObject* result);
  void refuse_write_of_checkpointed(PyObject* tensor);

  /// Called with the globals of every function met, to put recording functions in place of math.* and others.
  std::function<void(PyObject* globals)> on_globals;
  /// Meets the globals of the functions of the module's class and its bases.
  void meet_globals_of(PyObject* module);
  /// Declares an existing module, called or traced through, in the graph's module tree.
  void use_module(const std::string& path, PyObject* module);
  DtypeReads dtypes{*this};
  GivenModules given{*this};
  PyObject* function_mode = nullptr;  // borrowed
  std::unique_ptr<Regions> regions;

 private:
  friend class ActiveRecorder;
  bool may_be_set_by_hooks(PyObject* tensor, const std::string& path);
  Value tensor_value(PyObject* tensor);
  void tag(PyObject* tensor, NodeId node);
  NodeId tag_of(PyObject* tensor);
  /// The node that made a whole sequence, if `items` are exactly what it yielded; kNoNode otherwise.
  NodeId whole_sequence(PyObject* sequence);
  NodeId element(NodeId node, std::int32_t index);
  /// Pieces that Python takes one by one: it knows their number then.
  void note_iteration(NodeId node, Py_ssize_t count);
  PyObject* wrap_sequence(PyObject* result, NodeId node, bool in_place);
  /// Throws where the code that a symbol's node comes from would catch what it raises: without values nobody knows.
  void refuse_caught_symbols(SourceId source);
  SourceId current_source();
  bool is_user_code(PyCodeObject* code);
  /// The functions of the user that run now, innermost first.
  std::vector<RunningCode> running_codes();
  void spell_operators();
  /// Is this the public function that started the capture?
  bool is_entry(PyCodeObject* code);
  /// `callee`: what a message calls it.
  PyObject* leaf_call(CallKind kind, PyObject* module, const std::string* path, PyObject* args, PyObject* kwargs,
                      const std::string& callee);
  /// The call of a module that is an argument, or a part of one.
  PyObject* given_call(PyObject* module, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
  bool is_excluded(PyObject* module) const;
  bool holds_other_tensors(PyObject* module, const std::string& path) const;
  /// Of a module that is not recorded here: an example to prepare it with.
  void note_module_call(PyObject* module, const std::string& path, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames);
  void keep(const std::string& what, const char* reason);
  void check_structure_made(nb::handle structure, NodeId node, const std::string& text);

  std::uint32_t id_;
  CaptureMode mode_;
  const ModuleScan& scan_;
  Checkpoint& world_;
  Capture& capture_;
  bool paused_ = false;
  bool watching_ = false;
  const std::string* observed_ = nullptr;  // the region that runs
  const std::string* region_ = nullptr;    // the same, in what the code of the region calls too
  std::vector<nb::object> checkpointed_;   // storages of what torch.utils.checkpoint has yielded
  std::vector<KeepCandidate> around_checkpoint_;
  ScopeId scope_ = kRootScope;
  // The module whose mode flag was read last and not yet given to a call, and the node of that read.
  PyObject* training_read_ = nullptr;
  NodeId training_read_node_ = kNoNode;
  NodeId last_leak_ = kNoNode;
  Value mode_flag(PyObject* value, NodeId call_begin);
  std::unordered_map<std::string, std::uint32_t> scope_calls_;
  std::unordered_map<std::string, std::uint32_t> times_decided_;
  std::unordered_map<std::uint64_t, NodeId> elements_;
  std::vector<std::uint64_t> element_order_;
  KnownObjects objects_;
  NodeId write_back(NodeId in_place);
  std::unordered_map<PyObject*, std::string> constants_;  // tensor -> its name in the prepared model
  struct Sequence {
    Py_ssize_t length;
    PyTypeObject* type;  // borrowed: the type of a live or once live result of torch
    nb::object list;     // itself, if it is a list
  };
  std::unordered_map<NodeId, Sequence> sequences_;
  std::vector<bool> from_value_;                         // node -> its number was read out of a tensor
  std::unordered_map<PyObject*, NodeId> whole_results_;  // objects that calls yield and that have no parts, owned
  std::unordered_map<PyObject*, NodeId> devices_;        // device objects read from tensors, owned
  std::unordered_map<PyObject*, NodeId> device_types_;   // texts read from those, owned
  std::unordered_set<PyObject*> met_globals_;
  std::unordered_map<PyTypeObject*, bool> forward_met_;

  struct Site {
    PyCodeObject* code;
    int lasti;
    bool operator==(const Site&) const = default;
  };
  struct SiteHash {
    std::size_t operator()(const Site& s) const {
      return std::hash<void*>()(s.code) * 31 + static_cast<std::size_t>(s.lasti);
    }
  };
  std::unordered_map<Site, SourceId, SiteHash> site_index_;
  void give_places();
  std::vector<Site> sites_;  // owns a reference to each code object; site i is SourceId i + 1 until give_places()
  bool has_places_ = false;
  std::unordered_map<PyCodeObject*, bool> user_code_;
  std::unordered_set<std::uint64_t> not_caught_;  // scopes and places whose exceptions leave forward
};

/// Makes a recorder the current one of this thread for its lifetime.
class ActiveRecorder {
 public:
  explicit ActiveRecorder(Recorder& recorder);
  ~ActiveRecorder();

 private:
  Recorder* previous_;
};

/// The name of the attribute by which a tensor is known; interned, immortal.
PyObject* tag_key();

/// The line of an instruction. Before Python 3.11 the "instruction" of a Site is the line.
int line_of(PyCodeObject* code, int lasti);

/// Throws CaptureError if a function transform (torch.func) is active that nothing recorded as a whole.
void refuse_function_transforms(Recorder& recorder);

/// Like may_raise_by_value, of a call whose values nobody knows.
bool may_raise_symbolically(const Node& node);

}  // namespace modulize
