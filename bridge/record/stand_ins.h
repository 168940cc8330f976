// Further captures run no kernel of which it is known what it yields, but for the values.
//
// A call whose arguments have the same shapes, strides, dtypes, devices and other arguments as one that has run yields
// tensors of the same shapes: it is left out, and what it would yield is a tensor with memory of its own that nobody
// has written, a stand-in. Views of stand-ins are taken for real. Whatever reads values of one demands them: the
// capture starts again without stand-ins. A layer of a model whose other layers are like it is so run once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "bridge/record/function_names.h"
#include "bridge/record/shape_inference.h"
#include "bridge/values/call_key.h"

namespace modulize {

/// Thrown, and kept in StandIns::demanded(), where a value is read that is not there. It says why.
struct ValuesDemanded {
  std::string reason;
};

class Recorder;

/// What one preparation has learnt, for all its captures.
class KnownCalls {
 public:
  KnownCalls();
  ~KnownCalls();
  KnownCalls(const KnownCalls&) = delete;
  KnownCalls& operator=(const KnownCalls&) = delete;

  /// False where torch lacks what stand-ins need (before 2.1), or they are turned off.
  static bool is_possible();

  using Calls = std::unordered_map<std::string, std::unique_ptr<LearntCall>>;
  Calls calls;
  ShapeInference shapes;
  std::size_t run = 0, left_out = 0;            // calls with kernels
  std::map<std::string, std::size_t> demanded;  // reason -> captures that ran with values for it
};

/// `all`: calls that cost next to nothing are left out too; `all_invalid`: and the memory of stand-ins holds what
/// nobody may read. Set by the environment variable MODULIZE_STAND_INS when it is first asked for.
enum class StandInMode : std::uint8_t { on, off, all, all_invalid };
StandInMode stand_in_mode();
void set_stand_in_mode(StandInMode mode);
/// "on", "off", "all", "all_invalid". Throws Error for another text.
StandInMode stand_in_mode_of(const std::string& text);

/// Those of one capture. GIL held; no function mode of ours on the stack while its methods run.
class StandIns final : private FactsSource {
 public:
  /// All must outlive it. `outcomes`: how decisions came out for the same inputs, by Decision::key; null where these
  /// inputs are others. `with_values`: every kernel is run; what it yields is learnt all the same.
  StandIns(Recorder& recorder, KnownCalls& known, std::unordered_map<std::string, bool>* outcomes, bool with_values)
      : recorder_(recorder), known_(known), outcomes_(outcomes), with_values_(with_values) {}

  /// `function(*args, **kwargs)`, or what stands for what it yields. New reference, null with a Python error set.
  PyObject* call(PyObject* function, const CallName& name, PyObject* args, PyObject* kwargs);
  /// The same of a layer of torch without hooks; `run` calls it with such arguments.
  PyObject* call_layer(PyObject* layer, PyObject* args, PyObject* kwargs,
                       const std::function<PyObject*(PyObject* args, PyObject* kwargs)>& run);
  /// Before code runs that may read the values of its arguments, or with `any` of whatever it can reach.
  void require_values(PyObject* args, PyObject* kwargs, bool any, const std::string& reason);
  /// Has the object's memory been left out?
  bool is_one(PyObject* tensor);
  /// How the decision came out when there were values; nothing, where nobody has asked yet.
  std::optional<bool> outcome(const std::string& key) const;
  void note_outcome(const std::string& key, bool outcome);
  /// The tensor may be another one now (`x.data = y`).
  void forget(PyObject* tensor);
  /// The ids of nodes from `first` on are given again.
  void rollback(NodeId first);
  [[noreturn]] void demand(const std::string& reason);

  /// Tensors of the model that calls write that were left out.
  const std::unordered_set<PyObject*>& own_written() const { return own_written_; }
  /// Forward may have caught what `demand` threw.
  const std::optional<ValuesDemanded>& demanded() const { return demanded_; }

 private:
  struct Question;
  PyObject* answer(Question& question);
  static void add_to(CallKey& key, const Question& question);
  const std::string& structure_of(Question& question);
  /// What torch's meta kernels tell of it; the end where they do not.
  KnownCalls::Calls::iterator infer(Question& question);
  PyObject* run(Question& question);
  PyObject* run_and_learn(Question& question, bool with_zeros);
  PyObject* stand_for(const Question& question, const LearntCall& learnt);
  bool holds_any(const std::vector<PyObject*>& tensors);
  void mark(PyObject* tensor);
  /// What is on the meta device holds nothing that a write would change.
  void mark_written(PyObject* tensor);
  const TensorFacts& facts(PyObject* tensor) override;

  Recorder& recorder_;
  KnownCalls& known_;
  std::unordered_map<std::string, bool>* outcomes_;
  bool with_values_;
  std::unordered_set<const void*> storages_;   // whose memory holds nothing, or no longer what eager has there
  bool is_own_marked_ = false;                 // the model's own among them
  std::unordered_set<PyObject*> own_written_;  // those
  std::optional<ValuesDemanded> demanded_;
  std::unordered_map<NodeId, TensorFacts> facts_;         // by the node that made the tensor
  std::unordered_map<PyObject*, TensorFacts> own_facts_;  // of the model's tensors, which live as long
  TensorFacts other_;
};

}  // namespace modulize
