// State outside of the model that its Python code can name: globals, closures, class attributes, generators of random
// numbers. A capture without inputs runs forward once, so that what it reads there would be frozen.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "bridge/values/module_scan.h"
#include "bridge/values/parts.h"

namespace modulize {

/// True for a module of the standard library, torch, numpy or this package, by its name.
bool is_library_module(std::string_view name);

class OutsideState;

/// What forward left outside of the model, put back since.
class OutsideChanges {
 public:
  OutsideChanges() = default;
  bool empty() const { return changed_.empty(); }

  /// While one lives, forward finds what it left; afterwards everything is as it was. `changes`: null for none.
  class Found {
   public:
    explicit Found(const OutsideChanges* changes);
    ~Found();
    Found(const Found&) = delete;
    Found& operator=(const Found&) = delete;

   private:
    const OutsideChanges* changes_;
  };

 private:
  friend class OutsideState;
  struct Changed {
    std::size_t index;
    std::vector<Part> parts;
  };
  std::shared_ptr<const OutsideState> state_;
  std::vector<Changed> changed_;
};

/// What forward and the functions behind it can name, as it was at construction. Found by the names in their code, so
/// that what is reached in another way (getattr with a made-up name, code of the standard library) is not seen.
class OutsideState : public std::enable_shared_from_this<OutsideState> {
 public:
  explicit OutsideState(const ModuleScan& scan);
  OutsideState(const OutsideState&) = delete;
  OutsideState& operator=(const OutsideState&) = delete;

  /// For people: what has been written since, and what tells something new each time it is asked (iterators, generators
  /// of random numbers, clocks). Mostly empty.
  std::vector<std::string> suspects() const;
  /// The globals of the code that names `name`.
  std::vector<PyObject*> globals_naming(const char* name) const;
  /// Puts everything back, and gives what was there.
  OutsideChanges restore() const;
  /// Generators of random numbers that the code names.
  const std::vector<nb::object>& generators() const { return generators_; }
  /// The attribute of the class, or of one of its bases, that has been written; empty if none.
  std::string written_attribute_of(PyTypeObject* type) const;

 private:
  friend class OutsideChanges;
  enum class Kind { object, set, type, cell, variables };
  struct Held {
    Kind kind;
    nb::object holder;  // of variables: the dict of a module
    std::string name;
    std::vector<Part> parts;
    std::vector<PyObject*> names = {};  // of variables: those that code names; borrowed, the code is kept
  };

  void look_at_module_object(PyObject* module, PyObject* names);
  /// Looks at what is pending, until nothing is.
  void finish();
  /// Holds its attributes, and looks at its method of this name.
  void look_at_class(PyTypeObject* type, const char* method);
  void look_at_function(PyObject* function, PyTypeObject* self);
  void look_at_code(PyObject* code, PyObject* globals, PyTypeObject* self);
  void look_at_names(PyObject* names, PyObject* variables);
  void look_at(PyObject* value, PyObject* names, const std::string& name, int depth = 0);
  void hold(Kind kind, PyObject* holder, const std::string& name);

  static std::vector<Part> parts_now(const Held& held);
  static void put(const Held& held, const std::vector<Part>& parts);

  std::vector<Held> held_;
  struct Variables {
    std::size_t index;  // in held_
    std::unordered_set<PyObject*> names;
  };
  std::unordered_map<PyObject*, Variables> variables_;  // by the dict of a module
  struct Code {
    PyObject* code;
    PyObject* globals;
    PyTypeObject* self;  // the class that it is a method of; null for none
  };
  std::vector<Code> pending_code_;
  struct Names {
    PyObject* names;
    PyObject* variables;
    bool operator==(const Names&) const = default;
  };
  std::vector<Names> pending_names_;  // grows; those before next_names_ are done
  std::size_t next_names_ = 0;
  std::unordered_set<PyObject*> seen_;
  std::vector<nb::object> keep_;  // what seen_ has the addresses of, where nothing else holds it
  std::vector<std::string> restless_;
  std::vector<nb::object> generators_;
};

}  // namespace modulize
