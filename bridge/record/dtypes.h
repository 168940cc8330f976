// What forward does with the dtypes that it reads off tensors: handed on, they follow the tensor; compared, the outcome
// is an assumption; their limits (torch.finfo) are numbers of the graph. What is left is a leak, unless a further
// capture shows that it changes nothing.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bridge/record/origins.h"

namespace modulize {

class Recorder;

/// Of one capture, whose Origins hold the reads.
class DtypeReads {
 public:
  explicit DtypeReads(Recorder& recorder) : recorder_(recorder) {}

  /// `node` has yielded `dtype`. Returns the one that forward gets, which is another at a place that is tried out
  /// (Settings::tried_dtypes).
  PyObject* note(PyObject* dtype, NodeId node);
  /// The read that a dtype among arguments means; kNoNode if it was never read, or is written out (torch.float32).
  NodeId as_argument(PyObject* dtype);
  /// Python asks a dtype for one of its properties.
  void asked(PyObject* dtype, const char* property, bool answer);
  /// Python compares two dtypes.
  void compared(PyObject* a, PyObject* b);
  /// Leaks for the reads that nothing has accounted for. Call once, at the end.
  void finish();

 private:
  /// Does the code that runs have the dtype written out among the operands of its call or comparison?
  bool is_written_out(PyObject* dtype);
  std::vector<std::size_t> meant_by(PyObject* dtype);
  void check_equal(Origins::Read& read, const Value& other, bool equal);

  Recorder& recorder_;
  std::map<std::string, std::int64_t> times_;  // reads by line
  std::size_t lies_ = 0;
};

/// Where a dtype is read, as Settings::tried_dtypes names it: " at file:line, time 2".
std::string dtype_place(const std::string& line, std::int64_t time);

}  // namespace modulize
