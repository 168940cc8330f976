// What objects of Python stand for while a capture runs: this object is what that node yields.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bridge/python/python.h"
#include "ir/graph.h"

namespace modulize {

class Recorder;

/// The one table of one capture. Containers and objects with parts are `KnownObjects`, which follows what is written to
/// them; numbers and symbols carry their node themselves. Needs the GIL.
class Origins {
 public:
  Origins();
  /// Tensors of constants lose their tags; see untag.
  ~Origins();
  Origins(const Origins&) = delete;
  Origins& operator=(const Origins&) = delete;

  /// Tells the values of this capture from those of others.
  std::uint32_t capture() const { return capture_; }
  /// Forgets all that nodes from `first` on yielded: their ids are given again. Tags of tensors stay, as nobody has the
  /// results of a call that raised.
  void rollback(NodeId first);

  // --- tensors: the object carries a tag, since addresses are reused -------------------------------------------------
  NodeId of_tensor(PyObject* tensor) const;
  void tag(PyObject* tensor, NodeId node);
  /// Takes the tag off a tensor that outlives the capture.
  static void untag(PyObject* tensor);
  /// The name in the prepared model of a tensor that no node made and no module holds; "" for one that has none yet,
  /// for the caller to fill in. It must outlive this.
  std::string& constant(PyObject* tensor) { return constants_[tensor]; }
  bool is_constant(PyObject* tensor) const { return constants_.contains(tensor); }

  // --- objects without parts: devices, their types, dtypes, arrays of numpy's ----------------------------------------
  /// Where a read of a dtype stands. A dtype is one object for all reads of it, so that the object does not say which
  /// read is meant.
  struct Place {
    std::string line = {};        // "file:line"
    std::int64_t time = 0;        // the n-th read there
    const void* frame = nullptr;  // that read it; compared only
    bool is_stored = false;       // in a variable, so that any later use may mean it
    bool is_lie = false;          // another dtype than the tensor's: no later use means it
  };
  struct Read {
    nb::object object;  // held, so that its identity means this read
    NodeId node;
    Place place;
    bool is_used = false;  // follows the read, or is checked
  };
  void note(PyObject* object, NodeId node) { note(object, node, Place()); }
  void note(PyObject* object, NodeId node, Place place);
  /// The node of the last read of `object`; kNoNode if it stands for none.
  NodeId of_object(PyObject* object) const;
  /// All reads in their order. Borrowed: until the next note or rollback.
  std::vector<Read>& reads() { return reads_; }
  /// The index of that last read; reads().size() if there is none.
  std::size_t last_read(PyObject* object) const;

  // --- sequences and their elements ----------------------------------------------------------------------------------
  struct Sequence {
    Py_ssize_t length;
    PyTypeObject* type;  // borrowed: the type of a live or once live result of torch
    nb::object list;     // itself, if it is a list
  };
  void note_sequence(NodeId node, Sequence sequence) { sequences_.insert_or_assign(node, std::move(sequence)); }
  /// Null if `node` yields none. Valid until the next note_sequence or rollback.
  const Sequence* sequence(NodeId node) const;
  /// The getitem node of an element of a sequence of numbers: kNoNode until the caller has made it.
  NodeId element(NodeId node, std::int32_t index) const;
  void note_element(NodeId node, std::int32_t index, NodeId made);

  // --- numbers -------------------------------------------------------------------------------------------------------
  /// Was the number, or one that it was made of, read from a tensor? What Python decides by it is a decision on a
  /// value.
  bool is_from_value(const Value& value) const;
  /// Is the number, or one that it was made of, not there, as it was read from a tensor on the meta device? It stands
  /// for any.
  bool is_unknown(const Value& value) const;
  void mark_from_value(NodeId node, bool is_unknown = false);
  /// Python has learnt the number of `node`, as the node `leak` says.
  void note_leak(NodeId node, NodeId leak) { leaked_ = node, leak_ = leak; }
  /// Was it the last one that Python learnt? It may be asked for again at once, for a key twice.
  bool has_just_leaked(NodeId node) const { return leaked_ == node; }

  // --- the mode flag -------------------------------------------------------------------------------------------------
  /// The module whose flag traced code has read last and not yet given to a call; null: none. Borrowed.
  struct Flag {
    PyObject* module = nullptr;
    NodeId node = kNoNode;
  };
  Flag flag;

 private:
  std::uint32_t capture_;
  std::unordered_map<PyObject*, std::string> constants_;
  std::vector<Read> reads_;
  std::unordered_map<PyObject*, std::size_t> last_;  // object -> its last read that no lie is
  std::map<NodeId, Sequence> sequences_;
  std::unordered_map<std::uint64_t, NodeId> elements_;
  std::vector<std::uint64_t> element_order_;
  std::vector<bool> from_value_, unknown_;    // by node
  NodeId leaked_ = kNoNode, leak_ = kNoNode;  // the number that leaked last, and the node that says so
};

/// True if the object is, or contains, anything that a node of this capture made, or a tensor.
bool has_origin(Recorder& recorder, PyObject* object);

}  // namespace modulize
