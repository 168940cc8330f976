#include "bridge/record/dtypes.h"

#include <frameobject.h>

#include <algorithm>
#include <array>
#include <set>

#include "bridge/explore/explore.h"
#include "bridge/intercept/patches.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "ir/control.h"

namespace modulize {

namespace {

nb::handle bytecode(const char* name) {
  static std::map<std::string, PyObject*> known;
  PyObject*& helper = known[name];
  if (!helper) helper = nb::object(nb::module_::import_("modulize._bytecode").attr(name)).release().ptr();
  return helper;
}

std::string repr_of(PyObject* dtype) { return nb::cast<std::string>(checked(PyObject_Repr(dtype))); }

constexpr std::string_view kLeakText = "the dtype that forward asks for";

/// Of a decision's two sides with another text each, it has a node for a text: it stays what it is.
bool is_dtype_leak(const Node& node) {
  return is_call_of(node, kLeak) && node.args[2].is(ValueKind::string) && node.args[2].text().starts_with(kLeakText);
}

/// " at file:line, the 2nd time"
std::string place_of(const Node& leak) { return leak.args[2].text().substr(kLeakText.size()); }
std::string line_of(const std::string& place) { return place.substr(0, place.rfind(',')); }

}  // namespace

PyObject* DtypeReads::note(PyObject* dtype, NodeId node) {
  const auto site = recorder_.current_site();
  const bool is_stored = site && nb::cast<bool>(bytecode("is_stored")(site->first, site->second));
  PyObject* given = dtype;
  std::string place = " at " + recorder_.here();
  place += ", time " + std::to_string(++times_[place]);
  const auto is_floating = [&] {
    const Recorder::PauseFlag quiet(recorder_);
    return nb::cast<bool>(nb::handle(dtype).attr("is_floating_point"));
  };
  if (tried && tried->contains(place) && is_floating()) {
    // Neighbours get different ones, so that two reads that are compared with each other show.
    nb::module_ torch = nb::module_::import_("torch");
    static constexpr std::array<const char*, 3> kOthers = {"float64", "bfloat16", "float16"};
    do given = nb::object(torch.attr(kOthers[lies_++ % kOthers.size()])).ptr();
    while (given == dtype);
  } else {
    last_[dtype] = reads_.size();
  }
  reads_.push_back({given, node, std::move(place), PyEval_GetFrame(), is_stored, given != dtype});
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
  const std::string line = recorder_.here();
  const NodeId value = recorder_.add_function("operator.eq", {Value::node(read.node), other}, ValueType::number);
  recorder_.add_check(value, Value::boolean(equal), "a comparison of dtypes" + (line.empty() ? "" : " at " + line));
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
  const std::string line = recorder_.here();
  for (const std::size_t i : meant_by(dtype)) {
    reads_[i].is_used = true;
    const NodeId value = recorder_.add_function(
        "builtins.getattr", {Value::node(reads_[i].node), Value::string(property)}, ValueType::number);
    recorder_.add_check(value, Value::boolean(answer),
                        std::string("'") + property + "' of the dtype" + (line.empty() ? "" : " at " + line));
  }
}

void DtypeReads::finish() {
  Graph& g = recorder_.graph();
  for (const Read& read : reads_) {
    if (read.is_used || read.node >= g.id_limit() || !g[read.node].alive) continue;
    Node leak;
    leak.op = Opcode::call_function;
    leak.target = kLeak;
    leak.args = {Value::node(read.node), Value::name(repr_of(read.dtype)),
                 Value::string(std::string(kLeakText) + read.place)};
    leak.type = ValueType::other;
    leak.scope = g[read.node].scope;
    leak.source = g[read.node].source;
    g.insert_before(g[read.node].next, std::move(leak));
  }
}

// --- comparisons -----------------------------------------------------------------------------------

namespace {

int comparisons_seen = 0;  // how many DtypeComparisons live
richcmpfunc original_compare = nullptr;

// object's own comparison asks this slot once more where it is asked for !=.
PyObject* compare_slot(PyObject* a, PyObject* b, int op) {
  Recorder* recorder = Py_TYPE(a) == Py_TYPE(b) && (op == Py_EQ || op == Py_NE) ? Recorder::recording() : nullptr;
  if (!recorder) return original_compare(a, b, op);
  return guarded<PyObject*>(nullptr, [&] {
    recorder->dtypes.compared(a, b);
    return PyBool_FromLong((a == b) == (op == Py_EQ));
  });
}

}  // namespace

DtypeComparisons::DtypeComparisons() {
  PyTypeObject* const type = TorchTypes::instance().dtype;
  if (comparisons_seen++ > 0) return;
  original_compare = type->tp_richcompare;
  type->tp_richcompare = compare_slot;
}

DtypeComparisons::~DtypeComparisons() {
  if (--comparisons_seen == 0) TorchTypes::instance().dtype->tp_richcompare = original_compare;
}

// --- properties ------------------------------------------------------------------------------------

namespace {

struct Property {
  const char* name;
  PyObject* original = nullptr;  // the getter's descriptor; immortal
};
Property properties[] = {{"is_floating_point"}, {"is_complex"}};

PyObject* property_get(PyObject* self, void* closure) {
  const auto& property = *static_cast<const Property*>(closure);
  nb::object answer = nb::steal(
      Py_TYPE(property.original)->tp_descr_get(property.original, self, reinterpret_cast<PyObject*>(Py_TYPE(self))));
  Recorder* recorder = answer.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder) return answer.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    recorder->dtypes.asked(self, property.name, answer.is(nb::handle(Py_True)));
    return answer.release().ptr();
  });
}
PyGetSetDef property_defs[] = {
    {properties[0].name, property_get, nullptr, nullptr, &properties[0]},
    {properties[1].name, property_get, nullptr, nullptr, &properties[1]},
};

}  // namespace

void patch_dtype_properties(Patches& patches) {
  PyTypeObject* const type = TorchTypes::instance().dtype;
  for (std::size_t i = 0; i < std::size(properties); ++i) {
    Property& property = properties[i];
    if (!property.original) {
      property.original = PyDict_GetItemString(type->tp_dict, property.name);
      if (!property.original || !Py_TYPE(property.original)->tp_descr_get) return;
      Py_INCREF(property.original);
    }
    patches.set_class_entry(type, property.name, checked(PyDescr_NewGetSet(type, &property_defs[i])));
  }
}

// --- limits ----------------------------------------------------------------------------------------

namespace {

// `self` is torch.finfo or torch.iinfo.
PyObject* limits_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  nb::object limits = nb::steal(PyObject_Call(self, args, kwargs));
  Recorder* recorder = limits.is_valid() ? Recorder::recording() : nullptr;
  if (!recorder || PyTuple_GET_SIZE(args) != 1 || kwargs) return limits.release().ptr();
  return guarded<PyObject*>(nullptr, [&] {
    const NodeId dtype = recorder->dtypes.as_argument(PyTuple_GET_ITEM(args, 0));
    if (dtype == kNoNode) return limits.release().ptr();
    const std::string name = "torch." + text_of(nb::handle(self).attr("__name__"));
    const NodeId made = recorder->add_function(name, {Value::node(dtype)}, ValueType::other);
    nb::object traced = nb::module_::import_("types").attr("SimpleNamespace")();
    for (const char* field : {"bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"}) {
      if (!nb::hasattr(limits, field)) continue;
      nb::object value = limits.attr(field);
      if (!PyUnicode_Check(value.ptr())) {
        const NodeId node =
            recorder->add_function("builtins.getattr", {Value::node(made), Value::string(field)}, ValueType::number);
        value = checked(recorder->wrap_result(value.ptr(), node, false));
      }
      traced.attr(field) = value;
    }
    return traced.release().ptr();
  });
}
PyMethodDef limits_def = {"limits", as_c_function(limits_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

}  // namespace

std::vector<std::pair<nb::object, nb::object>> patch_dtype_limits(Patches& patches) {
  std::vector<std::pair<nb::object, nb::object>> replaced;
  nb::module_ torch = nb::module_::import_("torch");
  for (const char* name : {"finfo", "iinfo"}) {
    nb::object original = torch.attr(name);
    nb::object wrapper = checked(PyCFunction_New(&limits_def, original.ptr()));
    patches.set_item(torch.attr("__dict__"), nb::str(name), wrapper);
    replaced.emplace_back(std::move(original), std::move(wrapper));
  }
  return replaced;
}

// --- what changes nothing --------------------------------------------------------------------------

void settle_dtypes(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict) {
  Graph& g = first.graph;
  std::set<std::string> places, lines;
  for (const NodeId id : g.order())
    if (is_dtype_leak(g[id])) {
      places.insert(place_of(g[id]));
      lines.insert(line_of(place_of(g[id])));
    }
  const auto change_nothing = [&](const std::set<std::string>& tried) {
    CaptureOptions again = options;
    again.tried_dtypes = &tried;
    again.because(CaptureReason::dtype_tried, std::to_string(tried.size()) + " reads");
    Capture second;
    if (!try_capture(root, again, second)) return false;
    if (compare_captures(predict(second), first, second.graph, second, Checks::equal)) return false;
    for (const NodeId id : g.order()) {
      if (!is_dtype_leak(g[id]) || !tried.contains(place_of(g[id]))) continue;
      Node asked = g[id];
      asked.target = "builtins.getattr";
      asked.args = {g[id].args[0], Value::string("is_floating_point")};
      asked.type = ValueType::number;
      const std::string place = place_of(g[id]);
      const NodeId is_floating = g.insert_before(id, std::move(asked));
      g[id].target = kCheck;
      g[id].args[0] = Value::node(is_floating);
      g[id].args[1] = Value::boolean(true);
      g[id].args[2] = Value::string("whether the dtype is a floating one" + line_of(place));
    }
    return true;
  };
  constexpr std::size_t kMaxLines = 8;
  if (places.empty() || change_nothing(places) || lines.size() > kMaxLines) return;
  for (const std::string& line : lines) {
    std::set<std::string> tried;
    for (const std::string& place : places)
      if (line_of(place) == line) tried.insert(place);
    if (tried != places) change_nothing(tried);
  }
}

}  // namespace modulize
