// What one capture is told.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "bridge/record/capture.h"

namespace modulize {

class StandIns;
class StateWrites;

/// Filled in before forward runs. Python objects that are keys are borrowed: the caller holds them.
struct Settings {
  /// "branch", "keep", "specialize", "error": what control flow on values becomes.
  std::string on_dynamic;
  /// Calls that an operator of Python made stand in the graph as that operator.
  bool spells_operators = false;
  /// Calls of modules that are traced through stand in brackets (ir/blocks.h).
  bool keeps_blocks = false;
  std::unordered_set<PyObject*> excluded_modules, excluded_classes, excluded_functions;
  std::unordered_map<PyObject*, std::string> kept_modules;            // module -> why
  std::unordered_map<PyObject*, const KeptFunction*> kept_functions;  // by the function; both borrowed
  /// Classes of torch.nn that are traced through all the same, and functions of torch with what runs in place of them,
  /// recorded.
  std::unordered_set<PyObject*> opened_classes;
  std::unordered_map<PyObject*, nb::object> opened_functions;
  /// Questions about the world around: those that get the other answer, those whose answer makes no difference, and
  /// those that are decisions. All others become checks.
  std::set<std::string> flipped, silent, decided;
  /// Outcomes of decisions by key; those that are not here come out as they do. Borrowed; null: none.
  const std::unordered_map<std::string, bool>* outcomes = nullptr;
  /// Outcomes of decisions whose value is not there, likewise; those that are not here are taken to be true.
  const std::unordered_map<std::string, bool>* unknown_outcomes = nullptr;
  /// Places (dtype_place) whose reads yield another dtype than the tensor's. Borrowed; null: none.
  const std::set<std::string>* tried_dtypes = nullptr;
  /// Of this capture; borrowed. Null where the modules' attributes are not followed.
  StateWrites* state = nullptr;
  /// Likewise. Null where every kernel is run.
  StandIns* stand_ins = nullptr;
  /// Called with every module that is traced through, before it is. May be empty.
  std::function<void(PyObject* module)> on_traced_module;

  bool excludes(PyObject* module) const {
    return excluded_modules.contains(module) || excluded_classes.contains(reinterpret_cast<PyObject*>(Py_TYPE(module)));
  }
};

}  // namespace modulize
