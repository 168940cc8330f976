// What is put in place of torch's and Python's own while a capture runs, and put back afterwards whatever happens.
#pragma once

#include <vector>

#include "bridge/record/recorder.h"

namespace modulize {

/// Replacements, undone in reverse order by the destructor.
class Patches {
 public:
  Patches() = default;
  ~Patches() { undo(); }
  Patches(const Patches&) = delete;
  Patches& operator=(const Patches&) = delete;

  void set_item(nb::handle dict, nb::handle key, nb::handle value);
  void set_attribute(nb::handle object, const char* name, nb::handle value);
  /// An attribute of a heap type, without the walk over all its subclasses that setting it takes (100 us and more for
  /// nn.Module). Only for names whose slot serves the old value as well as the new: none, or two Python-level ones.
  void set_class_entry(PyTypeObject* type, const char* name, nb::handle value);
  void undo();
  /// Everything is as it was until resume(), which puts the replacements back. What changes in between stays changed.
  void suspend();
  void resume();

 private:
  enum class Kind : std::uint8_t { item, attribute, class_entry };
  struct Entry {
    nb::object target;
    nb::object key;
    nb::object original;  // invalid: was not there
    nb::object replacement;
    Kind kind;
  };
  static void put(const Entry& entry, const nb::object& value);
  std::vector<Entry> entries_;
};

/// nn.Module.__call__ (both captures), Module.__getattr__ (symbolic), torch's handle_torch_function.
void patch_torch(Patches& patches, CaptureMode mode);

/// math.*, len and the like, which Python answers without asking torch. Those that the user's globals hold by name are
/// replaced when their globals are met (Recorder::on_globals), and so are `others`: builtins and what stands for them.
void patch_python(Patches& patches, Recorder& recorder,
                  const std::vector<std::pair<nb::object, nb::object>>& others = {});

/// While the capture runs `f`, a Python function, hands its arguments to `handler`, however it is reached: a builtin of
/// two positional arguments, the tuple and the dict. Its `self` is (f, a clone with the real code, extra).
void replace_code(Patches& patches, nb::handle f, PyMethodDef* handler, nb::object extra = nb::none());

/// Modules that are imported meanwhile find everything as it is without a capture, and keep no replacements in their
/// tables: torch._dynamo is imported by the first call on the meta device, and compiles by what it knows of `range`.
void patch_imports(Patches& patches);

/// type() of a symbolic value, in code with these globals: that of a tensor, which is checked when the prepared model
/// runs.
void patch_type(Patches& patches, const std::vector<PyObject*>& globals);

/// Functions and methods under torch.fx.wrap become one node each. Symbolic capture only.
void patch_wrapped(Patches& patches);

/// `functions`: Python functions become one node each however they are reached: their code is replaced.
void patch_excluded(Patches& patches, nb::handle functions);

/// The same for one function that is kept whole, which the recorder knows the reason of.
void patch_kept(Patches& patches, nb::handle function);

/// The same for a function of our own; nothing is reported.
void patch_one_node(Patches& patches, nb::handle function);

/// Functions of register_operation become one node each, under the name they were registered by. Those that the user
/// excludes for this one capture (`excluded`) are left to patch_excluded.
void patch_registered(Patches& patches, nb::handle excluded);
/// Adds a Python function to those of patch_registered, for as long as it lives.
void add_registered_function(nb::handle function);

/// The function mode object; one a process.
PyObject* function_mode();

/// Pushes the function mode for its lifetime.
class ModeOnStack {
 public:
  explicit ModeOnStack(Recorder& recorder);
  ~ModeOnStack();
};

}  // namespace modulize
