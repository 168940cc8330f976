// Turns the calls of one forward into a Graph. Both captures record through it; they differ only in whether values
// exist.
#pragma once

#include <string>

#include "bridge/record/attention.h"
#include "bridge/record/capture.h"
#include "bridge/record/checkpointed.h"
#include "bridge/record/decisions.h"
#include "bridge/record/dtypes.h"
#include "bridge/record/given_modules.h"
#include "bridge/record/objects.h"
#include "bridge/record/origins.h"
#include "bridge/record/places.h"
#include "bridge/record/regions.h"
#include "bridge/record/settings.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/torch_types.h"
#include "bridge/values/traced_number.h"

namespace modulize {

class Checkpoint;

enum class CaptureMode : std::uint8_t { running, symbolic };

/// Records into one Capture: values in, nodes out. What else a capture knows stands in the parts that it owns, one
/// subject each. At most one is active a thread (`current()`); other threads are not affected by it.
/// All methods need the GIL and throw nb::python_error or Error.
class Recorder {
 public:
  /// `world`: what is to be put back afterwards; all that the recorder is given must outlive it.
  Recorder(CaptureMode mode, Settings settings, const ModuleScan& scan, Checkpoint& world, Capture& capture);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// The recorder that records on this thread right now; null when none, or while a leaf runs.
  static Recorder* recording();
  /// The recorder of this thread even while paused.
  static Recorder* current();
  /// The recorder of this thread while code that is kept whole runs, whose calls of modules are noted.
  static Recorder* observing();

  CaptureMode mode() const { return mode_; }
  Graph& graph() { return capture_.graph; }
  Capture& capture() { return capture_; }
  const ModuleScan& scan() const { return scan_; }
  Checkpoint& world() { return world_; }
  Settings settings;  // complete before forward runs

  Attention& attention() { return attention_; }
  Places& places() { return places_; }
  Origins& origins() { return origins_; }
  KnownObjects& objects() { return objects_; }
  GivenModules& given() { return given_; }
  DtypeReads& dtypes() { return dtypes_; }
  Regions& regions() { return regions_; }
  Decisions& decisions() { return decisions_; }
  CheckpointedResults& checkpointed() { return checkpointed_; }

  /// The Value of a Python object as it stands in an argument. Creates get_attr and getitem nodes as needed.
  Value to_value(PyObject* object);
  /// The node that made this object, kNoNode if none. Never creates nodes but for elements of sizes.
  NodeId node_of(PyObject* object);
  /// Makes `result`, the value of `node`, recognisable when it comes back as an argument. New reference. `in_place`:
  /// the call wrote its first argument, so that an object known before is renamed rather than aliased.
  PyObject* wrap_result(PyObject* result, NodeId node, bool in_place);

  /// A node in the current scope, with the user's current line.
  NodeId add_node(Node node);
  /// A call_function node like add_node's whose type is known.
  NodeId add_function(std::string target, ValueList args, ValueType type);
  /// Drops all nodes from `first` on (a call that raised), and what any part knows of them.
  void rollback(NodeId first);
  /// Fills in the sources of all nodes. Call once, at the end.
  void finish();

 private:
  Value tensor_value(PyObject* tensor);
  bool may_be_set_by_hooks(PyObject* tensor, const std::string& path);
  /// The node that made a whole sequence, if `items` are exactly what it yielded; kNoNode otherwise.
  NodeId whole_sequence(PyObject* sequence);
  NodeId element(NodeId node, std::int32_t index);
  PyObject* wrap_sequence(PyObject* result, NodeId node, bool in_place);

  CaptureMode mode_;
  const ModuleScan& scan_;
  Checkpoint& world_;
  Capture& capture_;
  Attention attention_;
  Places places_;
  Origins origins_;
  KnownObjects objects_{*this};
  GivenModules given_{*this};
  DtypeReads dtypes_{*this};
  Regions regions_{*this};
  Decisions decisions_{*this};
  CheckpointedResults checkpointed_{*this};
};

/// Makes a recorder the current one of this thread for its lifetime.
class ActiveRecorder {
 public:
  explicit ActiveRecorder(Recorder& recorder);
  ~ActiveRecorder();

 private:
  Recorder* previous_;
};

}  // namespace modulize
