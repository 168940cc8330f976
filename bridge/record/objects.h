// Objects that nodes made or that came in as inputs: which node stands for each, and what forward changed on them.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge/values/parts.h"
#include "ir/graph.h"

namespace modulize {

class Recorder;

/// The containers and objects of one capture. An object that is known is referred to by its node, and so stays the same
/// object in the prepared model; what forward changed on it since is written by nodes (`write_back`).
class KnownObjects {
 public:
  explicit KnownObjects(Recorder& recorder) : recorder_(recorder) {}

  bool empty() const { return known_.empty(); }

  /// Makes `object`, the value of `node`, known with everything inside. Each tensor inside that no node made is from
  /// now on the value of a getattr or getitem chain from `node`.
  /// `is_result`: a call yields it, so that a tensor known before is another value there, for the same memory: what the
  /// call gives back for other inputs, or where gradients are on, need not be its argument.
  void adopt(PyObject* object, NodeId node, bool is_result = false);

  /// Makes a container or object known that the prepared model has with `parts`, whatever they are by now.
  void know(PyObject* object, NodeId node, std::vector<Part> parts);
  bool knows(PyObject* object) const { return known_.contains(object); }
  bool keeps_identity() const { return keeps_identity_; }
  /// The getattr or getitem node of a part of what `node` yields.
  NodeId part_node(NodeId node, const Part& part);

  /// The same for what a call yielded whose inside was not recorded: numbers in a dict are traced from now on.
  void adopt_result(PyObject* object, NodeId node);

  /// The node of a known object, its changes written first. Exact lists, tuples and dicts only while `keeps_identity`:
  /// calls of torch take them as literals.
  std::optional<Value> find(PyObject* object);

  /// A node that makes an object like this one out of recorded values: by its constructor where that gives the same
  /// parts, else without. The object is known from then on.
  Value rebuild(PyObject* object);

  /// True for objects that `rebuild` must be asked for: not plain containers, with tensors or traced numbers inside.
  bool needs_rebuilding(PyObject* object);

  /// Records what forward changed on a known object, and on what it holds, since it was adopted or last written.
  void write_back(PyObject* object);
  /// The same for all that are known.
  void write_back_all();
  /// After a call whose inside was not recorded: what it changed is read by nodes from now on.
  void reread_all();

  /// Forgets what nodes from `first` on made.
  void rollback(NodeId first);

  /// While one lives, known lists, tuples and dicts are referred to by their nodes too.
  class KeepIdentity {
   public:
    explicit KeepIdentity(KnownObjects& objects) : objects_(objects), was_(objects.keeps_identity_) {
      objects_.keeps_identity_ = true;
    }
    ~KeepIdentity() { objects_.keeps_identity_ = was_; }

   private:
    KnownObjects& objects_;
    bool was_;
  };

  /// Refuses a value with an object in it that hides recorded tensors (a generator, a partial, a closure).
  void refuse_hidden_tensors(const Value& value, const std::string& what);

 private:
  class Rebuilding;
  struct Entry {
    nb::object object;
    NodeId node;
    std::vector<Part> written;  // the parts as the prepared model has them
    bool busy = false;
  };
  void write_attribute(const Entry& entry, const Part* before, const Part* now);
  void write_items(const Entry& entry, const std::vector<Part>& before, const std::vector<Part>& now);
  Value part_value(const nb::object& value);

  Recorder& recorder_;
  bool keeps_identity_ = false;
  std::unordered_map<PyObject*, Entry> known_;
  std::vector<PyObject*> order_;
  struct Undo {
    NodeId at;
    PyObject* object;
    std::vector<Part> written;
  };
  std::vector<Undo> undo_;
};

}  // namespace modulize
