// int and float subclasses that remember which node computed them: sizes stay symbolic while a model runs.
#pragma once

#include <Python.h>

#include <cstdint>

#include "ir/value.h"

namespace modulize {

/// Where a traced number comes from. `index` >= 0: element `index` of the sequence that `node` yields (a torch.Size);
/// its getitem node is made when the number is first used.
struct NumberOrigin {
  std::uint32_t capture = 0;
  NodeId node = kNoNode;
  std::int32_t index = -1;
};

/// Creates the two types. Returns false with a Python error set.
bool init_traced_number_types();

/// New reference, or null with an error set. A value beyond 64 bits comes back as a plain int.
PyObject* make_traced_int(PyObject* plain, const NumberOrigin& origin);
PyObject* make_traced_float(double value, const NumberOrigin& origin);

/// True if the object is a traced number; its origin goes to `*origin`. Exact types only, a few nanoseconds.
bool traced_origin(PyObject* object, NumberOrigin* origin);

/// The plain int or float of the same value: a new reference. The object itself if it is not traced.
PyObject* plain_number(PyObject* object);

// What the slots ask of the capture that runs on this thread; defined by the recorder.

/// Records `operator.<name>(operands...)` for the plain `result` and returns its traced form, or `result` itself when
/// nothing records here. Steals `result`; null in, null out.
PyObject* record_number_operation(const char* name, PyObject* const* operands, int count, PyObject* result);

/// Python asked for the truth of `operator.<name>(operands...)`: an assumption about shapes, or control flow on a
/// tensor's value. Returns the outcome to go on with, which need not be `truth`; -1 with an error set where the capture
/// cannot go on.
int record_number_decision(const char* name, PyObject* const* operands, int count, bool truth);

/// Python is told the number `self` by `what` ("int()") in a way that nothing records. False with an error set where
/// the capture cannot go on.
bool note_number_leak(const char* what, PyObject* self);

}  // namespace modulize
