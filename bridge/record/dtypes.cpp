#include "bridge/record/dtypes.h"

#include <frameobject.h>

#include <algorithm>
#include <array>
#include <set>

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/recorder.h"
#include "ir/control.h"

namespace modulize {

namespace {

nb::handle bytecode(const char* name) {
  static std::map<std::string, PyObject*> known;
  PyObject*& helper = known[name];
  if (!helper) helper = nb::object(nb::module_::import_("modulize._engine").attr(name)).release().ptr();
  return helper;
}

std::string repr_of(PyObject* dtype) { return nb::cast<std::string>(checked(PyObject_Repr(dtype))); }

}  // namespace

std::string dtype_place(const std::string& line, std::int64_t time) {
  return " at " + line + ", time " + std::to_string(time);
}

PyObject* DtypeReads::note(PyObject* dtype, NodeId node) {
  Places& places = recorder_.places();
  const auto site = places.current_site();
  const bool is_stored = site && nb::cast<bool>(bytecode("is_stored")(site->first, site->second));
  PyObject* given = dtype;
  std::string line = places.here();
  const std::int64_t time = ++times_[line];
  const auto is_floating = [&] {
    const PauseFlag quiet(recorder_);
    return nb::cast<bool>(nb::handle(dtype).attr("is_floating_point"));
  };
  const std::set<std::string>* const tried = recorder_.settings.tried_dtypes;
  if (tried && tried->contains(dtype_place(line, time)) && is_floating()) {
    // Neighbours get different ones, so that two reads that are compared with each other show.
    nb::module_ torch = nb::module_::import_("torch");
    static constexpr std::array<const char*, 3> kOthers = {"float64", "bfloat16", "float16"};
    do given = nb::object(torch.attr(kOthers[lies_++ % kOthers.size()])).ptr();
    while (given == dtype);
  }
  recorder_.origins().note(given, node, {std::move(line), time, PyEval_GetFrame(), is_stored, given != dtype});
  return given;
}

bool DtypeReads::is_written_out(PyObject* dtype) {
  const auto site = recorder_.places().current_site();
  if (!site) return false;
  const Pause quiet(recorder_);
  nb::object names = bytecode("names_in_operands")(site->first, site->second);
  return !nb::cast<bool>(names.attr("isdisjoint")(bytecode("names_of")(nb::handle(dtype))));
}

NodeId DtypeReads::as_argument(PyObject* dtype) {
  std::vector<Origins::Read>& reads = recorder_.origins().reads();
  const std::size_t last = recorder_.origins().last_read(dtype);
  if (last == reads.size() || is_written_out(dtype)) return kNoNode;
  for (Origins::Read& read : reads)
    if (read.object.is(nb::handle(dtype)) && (read.place.is_stored || &read == &reads[last])) read.is_used = true;
  return reads[last].node;
}

/// The last read, those that a function that still runs has stored, and those of this function that are open.
std::vector<std::size_t> DtypeReads::meant_by(PyObject* dtype) {
  std::vector<std::size_t> found;
  const std::vector<Origins::Read>& reads = recorder_.origins().reads();
  const std::size_t last = recorder_.origins().last_read(dtype);
  if (last == reads.size()) return found;
  PyFrameObject* frame = PyEval_GetFrame();
  const void* const here = frame;
  std::set<const void*> running;
  Py_XINCREF(frame);
  while (frame) {
    running.insert(frame);
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  // Another call's frame may lie where one has ended.
  std::set<ScopeId> calls;
  for (ScopeId scope = recorder_.places().scope(); calls.insert(scope).second;)
    scope = recorder_.graph().scope(scope).parent;
  for (std::size_t i = 0; i < last; ++i) {
    const auto& [object, node, place, is_used] = reads[i];
    if (!object.is(nb::handle(dtype)) || place.is_lie || !calls.contains(recorder_.graph()[node].scope)) continue;
    if (place.is_stored ? running.contains(place.frame) : !is_used && place.frame == here) found.push_back(i);
  }
  found.push_back(last);
  return found;
}

void DtypeReads::check_equal(Origins::Read& read, const Value& other, bool equal) {
  read.is_used = true;
  const NodeId value = recorder_.add_function("operator.eq", {Value::node(read.node), other}, ValueType::number);
  add_check_here(recorder_, value, Value::boolean(equal), "a comparison of dtypes");
}

void DtypeReads::compared(PyObject* a, PyObject* b) {
  const std::vector<std::size_t> left = meant_by(a), right = a == b ? left : meant_by(b);
  if (left.empty() && right.empty()) return;
  std::vector<Origins::Read>& reads = recorder_.origins().reads();
  const auto with_constant = [&](const std::vector<std::size_t>& meant, PyObject* constant) {
    for (const std::size_t i : meant) check_equal(reads[i], Value::name(repr_of(constant)), a == b);
  };
  if (a == b && (left.size() == 1 || is_written_out(a))) return with_constant(left, b);
  if (right.empty() || (!left.empty() && a != b && is_written_out(b))) return with_constant(left, b);
  if (left.empty() || (a != b && is_written_out(a))) return with_constant(right, a);
  for (const std::size_t i : left)
    for (const std::size_t j : right)
      if (i < j || a != b) {
        reads[j].is_used = true;
        check_equal(reads[i], Value::node(reads[j].node), a == b);
      }
}

void DtypeReads::asked(PyObject* dtype, const char* property, bool answer) {
  for (const std::size_t i : meant_by(dtype)) {
    Origins::Read& read = recorder_.origins().reads()[i];
    read.is_used = true;
    const NodeId value = recorder_.add_function("builtins.getattr", {Value::node(read.node), Value::string(property)},
                                                ValueType::number);
    add_check_here(recorder_, value, Value::boolean(answer), std::string("'") + property + "' of the dtype");
  }
}

void DtypeReads::finish() {
  Graph& g = recorder_.graph();
  for (const Origins::Read& read : recorder_.origins().reads()) {
    if (Py_TYPE(read.object.ptr()) != TorchTypes::instance().dtype || read.is_used || !g[read.node].alive) continue;
    Node leak;
    leak.op = Opcode::call_function;
    leak.target = kLeakDtype;
    leak.args = {Value::node(read.node), Value::name(repr_of(read.object.ptr())),
                 Value::string("the dtype that forward asks for"), Value::string(read.place.line),
                 Value::integer(read.place.time)};
    leak.type = ValueType::other;
    leak.scope = g[read.node].scope;
    leak.source = g[read.node].source;
    g.insert_before(g[read.node].next, std::move(leak));
  }
}

}  // namespace modulize
