#include "bridge/record/dtypes.h"

#include <frameobject.h>

#include <algorithm>
#include <array>
#include <set>

#include "bridge/python/errors.h"
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
  const auto site = recorder_.current_site();
  const bool is_stored = site && nb::cast<bool>(bytecode("is_stored")(site->first, site->second));
  PyObject* given = dtype;
  std::string line = recorder_.here();
  const std::int64_t time = ++times_[line];
  const auto is_floating = [&] {
    const Recorder::PauseFlag quiet(recorder_);
    return nb::cast<bool>(nb::handle(dtype).attr("is_floating_point"));
  };
  if (tried && tried->contains(dtype_place(line, time)) && is_floating()) {
    // Neighbours get different ones, so that two reads that are compared with each other show.
    nb::module_ torch = nb::module_::import_("torch");
    static constexpr std::array<const char*, 3> kOthers = {"float64", "bfloat16", "float16"};
    do given = nb::object(torch.attr(kOthers[lies_++ % kOthers.size()])).ptr();
    while (given == dtype);
  } else {
    last_[dtype] = reads_.size();
  }
  reads_.push_back({given, node, std::move(line), time, PyEval_GetFrame(), is_stored, given != dtype});
  return given;
}

bool DtypeReads::is_written_out(PyObject* dtype) {
  const auto site = recorder_.current_site();
  if (!site) return false;
  Recorder::Pause quiet(recorder_);
  nb::object names = bytecode("names_in_operands")(site->first, site->second);
  return !nb::cast<bool>(names.attr("isdisjoint")(bytecode("names_of")(nb::handle(dtype))));
}

NodeId DtypeReads::as_argument(PyObject* dtype) {
  const auto last = last_.find(dtype);
  if (last == last_.end() || is_written_out(dtype)) return kNoNode;
  for (Read& read : reads_)
    if (read.dtype == dtype && (read.is_stored || &read == &reads_[last->second])) read.is_used = true;
  return reads_[last->second].node;
}

/// The last read, those that a function that still runs has stored, and those of this function that are open.
std::vector<std::size_t> DtypeReads::meant_by(PyObject* dtype) {
  std::vector<std::size_t> found;
  const auto last = last_.find(dtype);
  if (last == last_.end()) return found;
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
  for (ScopeId scope = recorder_.scope(); calls.insert(scope).second;) scope = recorder_.graph().scope(scope).parent;
  for (std::size_t i = 0; i < last->second; ++i) {
    const Read& read = reads_[i];
    if (read.dtype != dtype || read.is_lie || !calls.contains(recorder_.graph()[read.node].scope)) continue;
    if (read.is_stored ? running.contains(read.frame) : !read.is_used && read.frame == here) found.push_back(i);
  }
  found.push_back(last->second);
  return found;
}

void DtypeReads::check_equal(Read& read, const Value& other, bool equal) {
  read.is_used = true;
  const NodeId value = recorder_.add_function("operator.eq", {Value::node(read.node), other}, ValueType::number);
  recorder_.add_check_here(value, Value::boolean(equal), "a comparison of dtypes");
}

void DtypeReads::compared(PyObject* a, PyObject* b) {
  const std::vector<std::size_t> left = meant_by(a), right = a == b ? left : meant_by(b);
  if (left.empty() && right.empty()) return;
  const auto with_constant = [&](const std::vector<std::size_t>& meant, PyObject* constant) {
    for (const std::size_t i : meant) check_equal(reads_[i], Value::name(repr_of(constant)), a == b);
  };
  if (a == b && (left.size() == 1 || is_written_out(a))) return with_constant(left, b);
  if (right.empty() || (!left.empty() && a != b && is_written_out(b))) return with_constant(left, b);
  if (left.empty() || (a != b && is_written_out(a))) return with_constant(right, a);
  for (const std::size_t i : left)
    for (const std::size_t j : right)
      if (i < j || a != b) {
        reads_[j].is_used = true;
        check_equal(reads_[i], Value::node(reads_[j].node), a == b);
      }
}

void DtypeReads::asked(PyObject* dtype, const char* property, bool answer) {
  for (const std::size_t i : meant_by(dtype)) {
    reads_[i].is_used = true;
    const NodeId value = recorder_.add_function(
        "builtins.getattr", {Value::node(reads_[i].node), Value::string(property)}, ValueType::number);
    recorder_.add_check_here(value, Value::boolean(answer), std::string("'") + property + "' of the dtype");
  }
}

void DtypeReads::finish() {
  Graph& g = recorder_.graph();
  for (const Read& read : reads_) {
    if (read.is_used || read.node >= g.id_limit() || !g[read.node].alive) continue;
    Node leak;
    leak.op = Opcode::call_function;
    leak.target = kLeakDtype;
    leak.args = {Value::node(read.node), Value::name(repr_of(read.dtype)),
                 Value::string("the dtype that forward asks for"), Value::string(read.line), Value::integer(read.time)};
    leak.type = ValueType::other;
    leak.scope = g[read.node].scope;
    leak.source = g[read.node].source;
    g.insert_before(g[read.node].next, std::move(leak));
  }
}

}  // namespace modulize
