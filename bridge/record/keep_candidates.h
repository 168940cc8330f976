// What could be kept whole around a place of a capture, innermost first.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "bridge/record/capture.h"

namespace modulize {

/// The code that runs as the root's forward: behind its decorators, with kept statements outlined. None if it is none
/// of Python's.
nb::object forward_code_of(nb::handle root, const KeptWhole* kept);

/// The code of every module's forward; functions around one are no candidates, the module is. Borrowed.
struct Forwards {
  explicit Forwards(const Capture& capture);
  std::unordered_map<std::string, PyObject*> by_path;
  std::unordered_set<PyObject*> codes, decorators;
};

/// The functions, modules and the statement of the root's forward that could be kept whole, innermost first. `running`:
/// innermost first, of which the first `inner` are none; `scope`: the one of `capture` that it ran in.
std::vector<KeepCandidate> keep_candidates(const Capture& capture, const std::vector<RunningCode>& running,
                                           ScopeId scope, std::size_t inner = 0);

/// Adds those around what `node` does. The graph is the capture's, or made of it.
void add_candidates(const Capture& capture, const Graph& graph, NodeId node, std::vector<KeepCandidate>& out);

/// Throws the KeepRequest for what is around `node` of `capture`.
[[noreturn]] void throw_keep_request(const Capture& capture, NodeId node, const std::string& why);

}  // namespace modulize
