// What is kept whole where a capture cannot go on: the smallest thing around that has not been tried.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bridge/record/capture.h"

namespace modulize {

/// How often something more is kept before all of forward is.
constexpr std::size_t kMaxKept = 24;

/// What did not help so far: codes of functions (borrowed), and lines of statements.
struct KeepTried {
  std::set<PyObject*> codes;
  std::set<std::pair<int, int>> statements;
  std::size_t rounds = 0;  // that have kept something more
  /// Of each class of modules (borrowed) and reason without its numbers: how many were kept, one after another.
  std::map<std::pair<PyTypeObject*, std::string>, std::size_t> modules = {};
};

/// Makes `kept` keep one more of the request's candidates; once some modules of a class were kept for one reason, all
/// of that class, as each would cost a capture of its own. False if there is nothing left to keep.
bool keep_more(nb::handle root, const KeepRequest& request, KeptWhole& kept, KeepTried& tried);

/// To keep what an error came through, but for what is kept already.
KeepRequest request_of(const Capture& capture, const KeptWhole& kept, nb::python_error& error);

}  // namespace modulize
