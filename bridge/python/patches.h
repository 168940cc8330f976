// What is put in place of torch's and Python's own for a while, and put back afterwards whatever happens.
#pragma once

#include <vector>

#include "bridge/python/python.h"

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

/// While the capture runs `f`, a Python function, hands its arguments to `handler`, however it is reached: a builtin of
/// two positional arguments, the tuple and the dict. Its `self` is (f, a clone with the real code, extra).
void replace_code(Patches& patches, nb::handle f, PyMethodDef* handler, nb::object extra = nb::none());

/// A builtin function of `def`, whose `self` is kept alive. `def` is immortal.
nb::object c_function(PyMethodDef* def, nb::handle self);

}  // namespace modulize
