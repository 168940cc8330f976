// What is kept whole where a capture cannot go on: the smallest thing around that has not been tried.
#pragma once

#include <set>
#include <utility>
#include <vector>

#include "bridge/record/capture.h"

namespace modulize {

/// What did not help so far: codes of functions (borrowed), and lines of statements.
struct KeepTried {
  std::set<PyObject*> codes;
  std::set<std::pair<int, int>> statements;
  std::size_t rounds = 0;  // that have kept something more
};

/// The code that runs as the root's forward: behind its decorators, with kept statements outlined. None if it is none
/// of Python's.
nb::object forward_code_of(nb::handle root, const KeptWhole* kept);

/// Makes `kept` keep one more of the request's candidates. False if there is nothing left to keep.
bool keep_more(nb::handle root, const KeepRequest& request, KeptWhole& kept, KeepTried& tried);

/// The functions, modules and the statement of the root's forward that could be kept whole, innermost first. `running`:
/// innermost first, of which the first `inner` are none; `scope`: the one of `capture` that it ran in.
std::vector<KeepCandidate> keep_candidates(const Capture& capture, const std::vector<RunningCode>& running,
                                           ScopeId scope, std::size_t inner = 0);

/// Adds those around what `node` does. The graph is the capture's, or made of it.
void add_candidates(const Capture& capture, const Graph& graph, NodeId node, std::vector<KeepCandidate>& out);

/// Throws the KeepRequest for what is around `node` of `capture`.
[[noreturn]] void throw_keep_request(const Capture& capture, NodeId node, const std::string& why);

/// To keep what an error came through, but for what is kept already.
KeepRequest request_of(const Capture& capture, const KeptWhole& kept, nb::python_error& error);

}  // namespace modulize
