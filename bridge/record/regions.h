// Context managers and decorators that forward enters: recorded as regions (ir/regions.h), entered for real meanwhile.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/python/python.h"
#include "ir/graph.h"

namespace modulize {

class Recorder;

/// The regions of one capture. GIL held; throws Error or nb::python_error.
class Regions {
 public:
  explicit Regions(Recorder& recorder) : recorder_(recorder) {}
  ~Regions();
  Regions(const Regions&) = delete;
  Regions& operator=(const Regions&) = delete;

  /// What makes a context manager: the name of a class or function, and its arguments.
  struct Maker {
    std::string name;
    ValueList args;
    Kwargs kwargs;
  };

  /// `context` was made by forward itself: entering it later makes it anew with these arguments, which may be values of
  /// the graph. `acted`: making it had an effect, which this node records.
  void made(PyObject* context, Maker maker, NodeId acted = kNoNode);
  /// Null if forward did not make it.
  const Maker* maker_of(PyObject* context) const;
  /// `context` has been entered.
  void enter(PyObject* context, Maker maker);
  /// `context` has been left. Nothing if it was entered while nothing was recorded.
  void leave(PyObject* context);
  /// Refuses what was entered and never left. At the end of forward.
  void finish();
  /// Forgets regions whose enter node is gone.
  void rollback(NodeId first);

  /// torch.set_grad_enabled(mode) was called; a `with` around it takes that back.
  NodeId set_gradients(Value mode);
  void unset_gradients(PyObject* context);

  /// The node that entered the innermost region, or that set the gradient mode last; kNoNode outside of all.
  NodeId place() const { return open_.empty() ? last_sticky() : open_.back().node; }
  /// Has forward itself set the gradient mode here?
  bool gradients_are_set() const;
  bool is_open(PyObject* context) const;
  /// Does a region decide the answer of this question (torch.is_grad_enabled, ...), whatever is outside?
  bool answers(const std::string& question) const;

 private:
  NodeId last_sticky() const { return sticky_.empty() ? kNoNode : sticky_.back(); }
  struct Open {
    PyObject* context;  // owned
    NodeId node;
    ScopeId scope;
    std::string name;
    bool fixed;  // no argument is a value of the graph
    std::string where;
  };
  struct Made {
    Maker maker;
    NodeId acted;
    NodeId limit;  // the number of nodes right after it was made
  };

  Recorder& recorder_;
  std::vector<Open> open_;
  std::unordered_map<PyObject*, Made> made_;  // keys owned
  std::vector<NodeId> sticky_;                // calls that set the gradient mode for all that follows
};

}  // namespace modulize
