// What a callable that torch hands us is called in a graph.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "bridge/python/python.h"
#include "bridge/python/weak_table.h"
#include "ops/op_row.h"
#include "ops/told_by.h"

namespace modulize {

enum class CallForm : std::uint8_t {
  function,  // call_function <name>
  method,    // call_method <name>
  getter,    // builtins.getattr(x, <name>)
  setter,    // builtins.setattr(x, <name>, value)
  opaque,    // no importable name: call_function of the object itself
};

struct CallName {
  CallForm form = CallForm::opaque;
  std::string name;
  /// True for `add_`, `__iadd__`, `__setitem__`, `relu_`: the first argument is written.
  bool in_place = false;
  bool may_raise = false;  // or not, by the values of tensors or where there are fewer rows
  Tells tells = Tells::nothing;
  ToldBy told_by = ToldBy::values;  // the shapes of what it yields
  std::size_t required = 0;         // arguments that make it the call of which this is told
};

/// Names of callables by identity. Those of torch are found by walking its namespaces once a process, and are kept
/// alive; any other is asked when it is met, and is not kept alive. GIL held.
class FunctionNames {
 public:
  static FunctionNames& instance();

  /// The name of `callable`; valid while it lives or, for opaque ones, until the next call.
  const CallName& find(PyObject* callable);
  /// From now on `callable`, none of torch's, is the function `name`, whether or not that can be imported.
  void give(PyObject* callable, std::string name);

 private:
  FunctionNames();
  void add_namespace(const char* qualified, CallForm form);

  std::unordered_map<PyObject*, CallName> names_;
  WeakTable<CallName> found_;
  std::unordered_map<std::string, CallName> getters_;
  CallName scratch_;
};

}  // namespace modulize
