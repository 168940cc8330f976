// What forward does with the dtypes that it reads off tensors: handed on, they follow the tensor; compared, the outcome
// is an assumption; their limits (torch.finfo) are numbers of the graph. What is left is a leak, unless a further
// capture shows that it changes nothing.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bridge/record/capture.h"
#include "ir/graph.h"

namespace modulize {

class Patches;
class Recorder;

/// Of one capture.
class DtypeReads {
 public:
  explicit DtypeReads(Recorder& recorder) : recorder_(recorder) {}

  /// `node` has yielded `dtype`. Returns the one that forward gets, which is another at a place that is tried out.
  PyObject* note(PyObject* dtype, NodeId node);
  /// The read that a dtype among arguments means; kNoNode if it was never read, or is written out (torch.float32).
  NodeId as_argument(PyObject* dtype);
  /// Python asks a dtype for one of its properties.
  void asked(PyObject* dtype, const char* property, bool answer);
  /// Python compares two dtypes.
  void compared(PyObject* a, PyObject* b);
  /// Leaks for the reads that nothing has accounted for. Call once, at the end.
  void finish();
  /// Places (" at file:line, time 1") whose reads yield another dtype than the tensor's. Borrowed; null: none.
  const std::set<std::string>* tried = nullptr;

 private:
  struct Read {
    PyObject* dtype;  // what forward got; immortal
    NodeId node;
    std::string place;
    const void* frame;     // that read it; compared only
    bool is_stored;        // in a variable, so that any later use may mean it
    bool is_lie;           // another than the tensor's
    bool is_used = false;  // follows the read, or is checked
  };
  /// Does the code that runs have the dtype written out among the operands of its call or comparison?
  bool is_written_out(PyObject* dtype);
  std::vector<std::size_t> meant_by(PyObject* dtype);
  void check_equal(Read& read, const Value& other, bool equal);

  Recorder& recorder_;
  std::vector<Read> reads_;
  std::unordered_map<PyObject*, std::size_t> last_;
  std::map<std::string, std::size_t> times_;
  std::size_t lies_ = 0;
};

/// How the text of a leak begins whose dtype nothing has accounted for; the place of the read follows.
inline constexpr std::string_view kDtypeLeak = "the dtype that forward asks for";

}  // namespace modulize
