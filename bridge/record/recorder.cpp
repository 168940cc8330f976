#include "bridge/record/recorder.h"

#include <frameobject.h>

#include <algorithm>
#include <utility>

#include "bridge/explore/keep.h"
#include "bridge/intercept/opaque_bodies.h"
#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"
#include "bridge/values/structure.h"
#include "ir/control.h"
#include "ir/regions.h"
#include "ops/op_match.h"

namespace modulize {

namespace {

thread_local Recorder* current_recorder = nullptr;
std::uint32_t next_capture_id = 1;  // guarded by the GIL

PyObject* tag_key() {
  static PyObject* const key = PyUnicode_InternFromString("_modulize_node");
  return key;
}

// Calls whose result is a Python value read out of a tensor's data.
bool reads_value(const CallName& name) {
  return name.form == CallForm::method &&
         (name.name == "item" || name.name == "tolist" || name.name == "__int__" || name.name == "__float__" ||
          name.name == "__index__" || name.name == "__complex__");
}

// Calls that give as many tensors as there are rows, or as fit.
bool gives_pieces(const CallName& name) {
  static constexpr std::string_view kNames[] = {"unbind",           "split",        "chunk",        "tensor_split",
                                                "split_with_sizes", "unsafe_split", "unsafe_chunk", "hsplit",
                                                "vsplit",           "dsplit"};
  std::string_view text = name.name;
  if (name.form == CallForm::function && text.starts_with("torch.")) text.remove_prefix(6);
  return std::find(std::begin(kNames), std::end(kNames), text) != std::end(kNames);
}

// Calls whose result is a Python bool that may be another one in another call: it depends on a tensor's data, on how it
// lies in memory, or on where the model runs.
bool answers_by_value(const CallName& name) {
  if (name.form == CallForm::method)
    return name.name == "item" || name.name == "__contains__" || name.name == "equal" || name.name == "allclose" ||
           name.name == "is_nonzero" || name.name == "is_contiguous" || name.name == "isclose";
  if (name.form == CallForm::getter) return name.name == "requires_grad" || name.name == "is_cuda";
  return name.form == CallForm::function &&
         (name.name == "torch.equal" || name.name == "torch.allclose" || name.name == "torch.is_nonzero");
}

// An in-place method (`add_`) that computes in another dtype than that of the tensor it writes.
bool narrows(const Node& node, PyObject* args) {
  if (node.op != Opcode::call_method || PyTuple_GET_SIZE(args) < 2) return false;
  const TorchTypes& torch = TorchTypes::instance();
  PyObject *const self = PyTuple_GET_ITEM(args, 0), *const other = PyTuple_GET_ITEM(args, 1);
  if (!torch.is_tensor(self) || !torch.is_tensor(other)) return false;
  static PyObject* const dtype = PyUnicode_InternFromString("dtype");
  const nb::object own = checked(PyObject_GetAttr(self, dtype)), others = checked(PyObject_GetAttr(other, dtype));
  if (own.is(others)) return false;
  const OpSpelling* spelling = find_op(node);
  if (!spelling || !spelling->writes_first || spelling->op->row->random) return false;
  Node out_of_place;
  out_of_place.op = Opcode::call_method;
  out_of_place.target = node.target.substr(0, node.target.size() - 1);
  const OpSpelling* plain = find_op(out_of_place);
  return plain && plain->op == spelling->op &&
         !nb::object(nb::module_::import_("torch").attr("result_type")(nb::handle(self), nb::handle(other))).is(own);
}

}  // namespace

Recorder::Recorder(nb::handle root, CaptureMode mode, const ModuleScan& scan, Capture& capture)
    : id_(next_capture_id++), mode_(mode), scan_(scan), capture_(capture), objects_(*this) {
  capture_.root = nb::borrow(root);
  regions = std::make_unique<Regions>(*this);
}

Recorder::~Recorder() {
  if (!overwritten_.empty()) {  // forward has raised
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    try {
      restore_overwritten();
    } catch (nb::python_error& e) {
      e.discard_as_unraisable("restoring parameters after a capture");
    }
    PyErr_Restore(type, value, trace);
  }
  // Tensors that outlive the capture lose their tags; those in the user's own caches keep one that means nothing any
  // more.
  const auto untag = [](PyObject* tensor) {
    PyObject** slot = _PyObject_GetDictPtr(tensor);
    if (slot && *slot && PyDict_Contains(*slot, tag_key()) == 1) PyDict_DelItem(*slot, tag_key());
  };
  for (const auto& [tensor, path] : scan_.tensors) untag(tensor);
  for (const auto& [tensor, name] : constants_) untag(tensor);
  give_places();  // a capture that ended early is looked at, too
  for (const Site& site : sites_) Py_DECREF(site.code);
  for (const auto& [device, node] : devices_) Py_DECREF(device);
  for (const auto& [object, node] : whole_results_) Py_DECREF(object);
  for (const auto& [text, node] : device_types_) Py_DECREF(text);
}

Recorder* Recorder::recording() { return current_recorder && !current_recorder->paused_ ? current_recorder : nullptr; }
Recorder* Recorder::current() { return current_recorder; }
Recorder* Recorder::observing() { return current_recorder && current_recorder->observed_ ? current_recorder : nullptr; }

ActiveRecorder::ActiveRecorder(Recorder& recorder) : previous_(current_recorder) {
  current_recorder = &recorder;
  error_listener = [](const Error& error) {
    if (current_recorder && !current_recorder->refusal && error.code() == ErrorCode::CaptureError)
      current_recorder->refusal = error;
  };
}
ActiveRecorder::~ActiveRecorder() { current_recorder = previous_; }

Recorder::Pause::Pause(Recorder& recorder) : recorder_(recorder), was_paused_(recorder.paused_) {
  const TorchTypes& torch = TorchTypes::instance();
  // Another mode may lie above ours (`with torch.device(...)`): then only the flag keeps us quiet.
  if (torch.top_mode().is(recorder.function_mode))
    popped_ = checked(PyObject_CallNoArgs(torch.pop_mode)).release().ptr();
  recorder.paused_ = true;
}

Recorder::Pause::~Pause() {
  recorder_.paused_ = was_paused_;
  if (!popped_) return;
  // Runs while an exception of the model may be set: keep it.
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyObject* done = PyObject_CallOneArg(TorchTypes::instance().push_mode, popped_);
  Py_XDECREF(done);
  Py_DECREF(popped_);
  PyErr_Restore(type, value, trace);
}

// --- where we are ------------------------------------------------------------------------------------

namespace {

/// The methods that dataclasses and named tuples make: the line that calls them says more.
bool is_generated(PyCodeObject* code, std::string_view path) {
  return path == "<string>" && nb::cast<std::string>(nb::handle(code->co_name)).starts_with("__");
}

/// "package.module.Class.method", without an address; the class where the object has no name.
std::string name_of(nb::handle function) {
  nb::object named = nb::borrow(function);
  if (!nb::hasattr(named, "__qualname__")) named = nb::borrow(named.type());
  const nb::object qualified = named.attr("__qualname__"), module = nb::getattr(named, "__module__", nb::none());
  return nb::isinstance<nb::str>(module) ? text_of(module) + "." + text_of(qualified) : text_of(qualified);
}

}  // namespace

bool Recorder::is_user_code(PyCodeObject* code) {
  const auto [it, fresh] = user_code_.try_emplace(code, true);
  if (fresh) {
    Py_ssize_t size = 0;
    const char* file = PyUnicode_AsUTF8AndSize(code->co_filename, &size);
    if (!file) {
      PyErr_Clear();
      it->second = false;
    } else {
      const std::string_view path(file, static_cast<std::size_t>(size));
      const TorchTypes& torch = TorchTypes::instance();
      it->second = !path.starts_with(torch.folder) && !path.starts_with(torch.our_folder) &&
                   !path.starts_with("<frozen") && !is_generated(code, path);
    }
  }
  return it->second;
}

bool Recorder::is_entry(PyCodeObject* code) {
  if (entry_) return code == entry_;
  static PyObject* const folder = nb::cast(TorchTypes::instance().our_folder + "_api.py").release().ptr();
  if (PyUnicode_Compare(code->co_filename, folder) != 0) {
    if (PyErr_Occurred()) PyErr_Clear();
    return false;
  }
  entry_ = code;
  return true;
}

SourceId Recorder::current_source() {
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return kNoSource;
  Py_INCREF(frame);
  while (frame) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    if (is_entry(code)) {  // what is recorded outside of forward has no line: the caller's is none of the model
      Py_DECREF(code);
      Py_DECREF(frame);
      return kNoSource;
    }
    if (is_user_code(code)) {
#if PY_VERSION_HEX >= 0x030B0000
      const int lasti = PyFrame_GetLasti(frame);
#else
      const int lasti = PyFrame_GetLineNumber(frame);
#endif
      const auto [it, fresh] = site_index_.try_emplace(Site{code, lasti}, static_cast<SourceId>(sites_.size() + 1));
      if (fresh) {
        sites_.push_back(Site{code, lasti});
        if (mode_ == CaptureMode::running) capture_.codes.try_emplace(where(it->second), running_codes());
      } else {
        Py_DECREF(code);
      }
      Py_DECREF(frame);
      return it->second;
    }
    Py_DECREF(code);
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  return kNoSource;
}

int line_of(PyCodeObject* code, int lasti) {
#if PY_VERSION_HEX >= 0x030B0000
  return PyCode_Addr2Line(code, lasti);
#else
  (void)code;
  return lasti;
#endif
}

std::optional<std::pair<nb::object, int>> Recorder::current_site() {
  const SourceId source = current_source();
  if (source == kNoSource) return std::nullopt;
  const Site& site = sites_[source - 1];
  return std::pair(nb::borrow(reinterpret_cast<PyObject*>(site.code)), site.lasti);
}

// `x / y` arrives as Tensor.div, and so does `x.div(y)`: the instruction that the caller stood on tells them apart.
void Recorder::spell_operators() {
  struct Arrival {
    std::string_view method, symbol, function;
    bool reflected = false;
  };
  static constexpr Arrival kArrivals[] = {
      {"add", "+", "add"},
      {"add_", "+", "iadd"},
      {"__radd__", "+", "add", true},
      {"sub", "-", "sub"},
      {"sub_", "-", "isub"},
      {"__rsub__", "-", "sub", true},
      {"mul", "*", "mul"},
      {"mul_", "*", "imul"},
      {"__rmul__", "*", "mul", true},
      {"div", "/", "truediv"},
      {"div_", "/", "itruediv"},
      {"__rdiv__", "/", "truediv", true},
      {"__rtruediv__", "/", "truediv", true},
      {"floor_divide", "//", "floordiv"},
      {"floor_divide_", "//", "ifloordiv"},
      {"__floordiv__", "//", "floordiv"},
      {"__rfloordiv__", "//", "floordiv", true},
      {"remainder", "%", "mod"},
      {"remainder_", "%", "imod"},
      {"__rmod__", "%", "mod", true},
      {"pow", "**", "pow"},
      {"pow_", "**", "ipow"},
      {"__ipow__", "**", "ipow"},
      {"__rpow__", "**", "pow", true},
      {"matmul", "@", "matmul"},
      {"__rmatmul__", "@", "matmul", true},
  };
  nb::object operator_at = nb::module_::import_("modulize._bytecode").attr("operator_at");
  Graph& g = graph();
  for (const NodeId id : g.order()) {
    Node& node = g[id];
    if (node.op != Opcode::call_method || node.source == kNoSource || node.args.size() != 2 || !node.kwargs.empty())
      continue;
    const auto arrival = std::find_if(std::begin(kArrivals), std::end(kArrivals),
                                      [&](const Arrival& a) { return a.method == node.target; });
    if (arrival == std::end(kArrivals)) continue;
    const Site& site = sites_[node.source - 1];
    nb::object symbol = operator_at(nb::handle(reinterpret_cast<PyObject*>(site.code)), site.lasti);
    if (nb::cast<std::string>(symbol) != arrival->symbol) continue;
    node.op = Opcode::call_function;
    node.target = "operator." + std::string(arrival->function);
    if (arrival->reflected) std::swap(node.args[0], node.args[1]);
  }
}

void Recorder::finish() {
  dtypes.finish();
  if (spells_operators && mode_ == CaptureMode::running) spell_operators();
  give_places();
}

void Recorder::give_places() {
  if (has_places_) return;
  has_places_ = true;
  Graph& g = graph();
  std::vector<SourceId> final(sites_.size() + 1, kNoSource);
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    const char* file = PyUnicode_AsUTF8(sites_[i].code->co_filename);
    if (!file) {
      PyErr_Clear();
      continue;
    }
    const int line = line_of(sites_[i].code, sites_[i].lasti);
    final[i + 1] = g.add_source(file, line);
  }
  for (const NodeId id : g.order()) g[id].source = final[g[id].source];
}

std::string Recorder::here() { return where(current_source()); }

std::string Recorder::where(SourceId source) {
  if (source == kNoSource) return "";
  const Site& site = sites_[source - 1];
  const char* file = PyUnicode_AsUTF8(site.code->co_filename);
  if (!file) {
    PyErr_Clear();
    return "";
  }
  return std::string(file) + ":" + std::to_string(line_of(site.code, site.lasti));
}

std::string Recorder::place() {
  const std::string line = here();
  const std::string path = scope_path();
  std::string out = line.empty() ? "" : " at " + line;
  out += path.empty() ? " (in the root module)" : " (in module '" + path + "')";
  return out;
}

void Recorder::refuse_control_flow(const std::string& what) {
  if (mode_ == CaptureMode::symbolic)
    throw Error(ErrorCode::CaptureError,
                what + place() +
                    " needs a value, and there is none without inputs: give example_inputs, fix the argument by "
                    "concrete_args, or put the code into a function under torch.fx.wrap");
  KeepRequest made(what + place() +
                       " depends on the value of a tensor: exclude the function (functions_to_exclude) or the module "
                       "(modules_to_exclude) that does it",
                   what, on_dynamic == "error" ? std::vector<KeepCandidate>() : candidates());
  for (const RunningCode& frame : running_codes())
    if (reinterpret_cast<PyCodeObject*>(frame.code.ptr())->co_flags & CO_GENERATOR)
      made.generator = text_of(frame.code.attr("co_filename")) + ":" + std::to_string(frame.line);
  if (!request) request = made;
  throw made;
}

std::vector<RunningCode> Recorder::running_codes() {
  std::vector<RunningCode> out;
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  while (frame) {
    const nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
    const bool is_end = is_entry(reinterpret_cast<PyCodeObject*>(code.ptr()));
    if (!is_end && is_user_code(reinterpret_cast<PyCodeObject*>(code.ptr())))
      out.push_back({code, PyFrame_GetLineNumber(frame)});
    PyFrameObject* back = is_end ? nullptr : PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  return out;
}

std::vector<KeepCandidate> Recorder::candidates() { return keep_candidates(capture_, running_codes(), scope_); }

bool Recorder::decide(NodeId value, bool natural) {
  if (on_dynamic == "error" || on_dynamic == "keep") refuse_control_flow("control flow on the value of a tensor");
  const SourceId source = current_source();
  if (on_dynamic == "specialize") {
    const std::string line = where(source);
    add_check(add_function(std::string(kTruth), {Value::node(value)}, ValueType::number), Value::boolean(natural),
              "a decision on a value" + (line.empty() ? "" : " at " + line));
    return natural;
  }
  const Scope& scope = graph().scope(scope_);
  std::string key = scope.path + '#' + std::to_string(scope.call) + '@';
  if (source != kNoSource) {
    const Site& site = sites_[source - 1];
    key += std::to_string(reinterpret_cast<std::uintptr_t>(site.code)) + '+' + std::to_string(site.lasti);
  }
  const std::uint32_t times = times_decided_[key]++;
  if (times >= 24) refuse_control_flow("a loop that ends by the value of a tensor");
  key += '*' + std::to_string(times);
  bool outcome = natural;
  if (outcomes)
    if (const auto it = outcomes->find(key); it != outcomes->end()) outcome = it->second;
  const NodeId node = add_function(std::string(kTruth), {Value::node(value)}, ValueType::number);
  capture_.decisions.push_back({node, std::move(key), outcome});
  return outcome;
}

// --- nodes ---------------------------------------------------------------------------------------------

NodeId Recorder::add_node(Node node) {
  node.scope = scope_;
  node.source = current_source();
  if (mode_ == CaptureMode::symbolic && may_raise_symbolically(node)) refuse_caught_symbols(node.source);
  return graph().add(std::move(node));
}

NodeId Recorder::add_function(std::string target, ValueList args, ValueType type) {
  Node node;
  node.op = Opcode::call_function;
  node.target = std::move(target);
  node.args = std::move(args);
  node.type = type;
  return add_node(std::move(node));
}

void Recorder::rollback(NodeId first) {
  graph().truncate(first);
  while (!element_order_.empty()) {
    const auto it = elements_.find(element_order_.back());
    if (it->second < first) break;
    elements_.erase(it);
    element_order_.pop_back();
  }
  if (from_value_.size() > first) from_value_.resize(first);
  objects_.rollback(first);
  regions->rollback(first);
  std::erase_if(capture_.ambient_questions, [&](const AmbientQuestion& entry) { return entry.value >= first; });
}

NodeId Recorder::element(NodeId node, std::int32_t index) {
  const std::uint64_t key = (static_cast<std::uint64_t>(node) << 32) | static_cast<std::uint32_t>(index);
  if (const auto it = elements_.find(key); it != elements_.end()) return it->second;
  const NodeId made = add_function("operator.getitem", {Value::node(node), Value::integer(index)}, ValueType::number);
  if (node < from_value_.size() && from_value_[node]) {
    from_value_.resize(made + 1, false);
    from_value_[made] = true;
  }
  elements_.emplace(key, made);
  element_order_.push_back(key);
  return made;
}

void Recorder::add_check(NodeId value, Value expected, const std::string& text) {
  add_function("modulize._runtime.check", {Value::node(value), std::move(expected), Value::string(text)},
               ValueType::other);
}

void Recorder::add_structure_check(NodeId value, nb::handle structure, const std::string& text) {
  add_function("modulize._runtime.check_structure",
               {Value::node(value), capture_.objects.value(structure), Value::string(text)}, ValueType::other);
}

void Recorder::mark_read_from_value(NodeId node) {
  if (from_value_.size() <= node) from_value_.resize(node + 1, false);
  from_value_[node] = true;
}

namespace {

/// What `object.method()` returns as a number; 0 if it raises.
std::uintptr_t number_from(PyObject* object, PyObject* method) {
  nb::object number = nb::steal(PyObject_CallMethodNoArgs(object, method));
  if (!number.is_valid()) {
    PyErr_Clear();  // a tensor without storage, or an older torch
    return 0;
  }
  return nb::cast<std::uintptr_t>(number);
}

}  // namespace

void Recorder::save_before_writes(const CallName& name, PyObject* args, PyObject* kwargs) {
  if (name.in_place && PyTuple_GET_SIZE(args) > 0) save_before_write(PyTuple_GET_ITEM(args, 0));
  if (PyObject* out = kwargs ? PyDict_GetItemString(kwargs, "out") : nullptr) save_before_write(out);
}

// A copy of all Parameters would double a model's memory: only those that a recorded call writes are copied, before it
// does.
void Recorder::save_before_write(PyObject* tensor) {
  if (!TorchTypes::instance().is_tensor(tensor)) return;
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  static PyObject* const untyped_storage = PyUnicode_InternFromString("untyped_storage");
  static PyObject* const nbytes = PyUnicode_InternFromString("nbytes");
  if (!std::exchange(unsaved_known_, true))
    for (const auto& [held, path] : scan_.tensors)
      if (const std::uintptr_t address = number_from(held, data_ptr)) unsaved_.emplace(address, held);
  nb::object storage = nb::steal(PyObject_CallMethodNoArgs(tensor, untyped_storage));
  if (!storage.is_valid()) {
    PyErr_Clear();
    return;
  }
  const std::uintptr_t begin = number_from(storage.ptr(), data_ptr);
  if (begin == 0) return;
  const auto first = unsaved_.lower_bound(begin);
  const auto last = unsaved_.lower_bound(begin + number_from(storage.ptr(), nbytes));
  for (auto it = first; it != last; ++it) {
    nb::handle held(it->second);
    overwritten_.emplace_back(nb::borrow(held), nb::object(held.attr("detach")().attr("clone")()));
    capture_.overwritten.push_back(nb::borrow(held));
  }
  unsaved_.erase(first, last);
}

std::vector<std::string> Recorder::restore_overwritten() {
  std::vector<std::string> names;
  for (auto& [tensor, copy] : overwritten_) {
    names.push_back(scan_.tensors.at(tensor.ptr()));
    tensor.attr("detach")().attr("copy_")(copy);
  }
  overwritten_.clear();
  return names;
}

// --- tensors -------------------------------------------------------------------------------------------

NodeId Recorder::tag_of(PyObject* tensor) {
  PyObject** slot = _PyObject_GetDictPtr(tensor);
  if (!slot || !*slot) return kNoNode;
  PyObject* tag = PyDict_GetItem(*slot, tag_key());
  if (!tag) return kNoNode;
  const unsigned long long bits = PyLong_AsUnsignedLongLong(tag);
  return (bits >> 32) == id_ ? static_cast<NodeId>(bits & 0xffffffffu) : kNoNode;
}

void Recorder::tag(PyObject* tensor, NodeId node) {
  const nb::object bits = checked(PyLong_FromUnsignedLongLong((static_cast<unsigned long long>(id_) << 32) | node));
  PyObject** slot = _PyObject_GetDictPtr(tensor);
  int failed;
  if (slot && *slot)
    failed = PyDict_SetItem(*slot, tag_key(), bits.ptr());
  else
    failed = PyObject_GenericSetAttr(tensor, tag_key(), bits.ptr());
  if (failed) nb::raise_python_error();
}

NodeId Recorder::root_module() {
  Node node;
  node.op = Opcode::get_attr;
  node.type = ValueType::other;
  node.target = "_modulize_module";
  return add_node(std::move(node));
}

NodeId Recorder::module_node(const std::string& path, PyObject* module) {
  use_module(path, module);
  if (path.empty()) return root_module();
  Node node;
  node.op = Opcode::get_attr;
  node.type = ValueType::other;
  node.target = path;
  return add_node(std::move(node));
}

// The hooks of the root run before forward does, as the old torch.nn.utils.weight_norm: what they may set is read at
// every call, and no module can hold it.
bool Recorder::may_be_set_by_hooks(PyObject* tensor, const std::string& path) {
  PyObject* root = scan_.modules.front().module;
  PyObject** dict = _PyObject_GetDictPtr(root);
  return dict && *dict && PyDict_GetItemString(*dict, path.c_str()) == tensor && has_hooks(root);
}

Value Recorder::tensor_value(PyObject* tensor) {
  if (const NodeId node = tag_of(tensor); node != kNoNode) return Value::node(node);
  const auto describe = [&](const std::string& path, TensorKind kind) {
    if (graph().modules.find_tensor(path)) return;
    PauseFlag quiet(*this);
    nb::handle t(tensor);
    TensorSpec spec;
    spec.path = path;
    spec.kind = kind;
    spec.dtype = text_of(t.attr("dtype")).substr(6);  // without "torch."
    nb::object shape = t.attr("shape");
    for (nb::handle n : shape) spec.shape.push_back(nb::cast<std::int64_t>(n));
    graph().modules.add_tensor(std::move(spec));
  };
  Node node;
  node.op = Opcode::get_attr;
  node.type = ValueType::tensor;
  const TorchTypes& torch = TorchTypes::instance();
  if (const auto it = scan_.tensors.find(tensor); it != scan_.tensors.end()) {
    if (may_be_set_by_hooks(tensor, it->second)) {
      return Value::node(
          add_function("builtins.getattr", {Value::node(root_module()), Value::string(it->second)}, ValueType::tensor));
    }
    const bool parameter = Py_TYPE(tensor) == torch.parameter || PyType_IsSubtype(Py_TYPE(tensor), torch.parameter);
    Pause quiet(*this);
    describe(it->second, parameter ? TensorKind::parameter : TensorKind::buffer);
    node.target = it->second;
  } else {
    // Nothing recorded made it and no module holds it: a closure's or a global's constant.
    const auto [at, fresh] = constants_.try_emplace(tensor, "");
    if (fresh) {
      at->second = "_tensor_constant" + std::to_string(capture_.constants.size());
      capture_.constants.emplace(at->second, nb::borrow(tensor));
      Pause quiet(*this);
      describe(at->second, TensorKind::constant);
    }
    node.target = at->second;
  }
  return Value::node(add_node(std::move(node)));
}

// --- arguments -----------------------------------------------------------------------------------------

NodeId Recorder::node_of(PyObject* object) {
  const TorchTypes& torch = TorchTypes::instance();
  if (torch.is_tensor(object)) return tag_of(object);
  NumberOrigin origin;
  if (traced_origin(object, &origin)) {
    if (origin.capture != id_) return kNoNode;
    return origin.index < 0 ? origin.node : element(origin.node, origin.index);
  }
  return proxy_node(object, *this);
}

bool Recorder::has_origin(PyObject* object) {
  NumberOrigin origin;
  if (traced_origin(object, &origin)) return origin.capture == id_;
  if (is_proxy(object)) return true;
  if (TorchTypes::instance().is_tensor(object)) return true;
  if (PyTuple_Check(object)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i)
      if (has_origin(PyTuple_GET_ITEM(object, i))) return true;
  } else if (PyList_Check(object)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i)
      if (has_origin(PyList_GET_ITEM(object, i))) return true;
  } else if (PyDict_Check(object)) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);)
      if (has_origin(value)) return true;
  } else if (PySlice_Check(object)) {
    auto* slice = reinterpret_cast<PySliceObject*>(object);
    return has_origin(slice->start) || has_origin(slice->stop) || has_origin(slice->step);
  }
  return false;
}

NodeId Recorder::whole_sequence(PyObject* sequence) {
  // `torch.stack(x.unbind(0))` passes on whatever number of pieces there is: the sequence itself is the argument.
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
  NodeId source = kNoNode;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(sequence, i);
    NumberOrigin origin;
    NodeId from = kNoNode;
    if (traced_origin(item, &origin)) {
      if (origin.capture != id_ || origin.index != i) return kNoNode;
      from = origin.node;
    } else {
      NodeId node = kNoNode;
      if (TorchTypes::instance().is_tensor(item))
        node = tag_of(item);
      else if (PyTuple_CheckExact(item) || PyList_CheckExact(item))
        node = PySequence_Fast_GET_SIZE(item) > 0 ? whole_sequence(item) : kNoNode;
      else if (objects_.knows(item))
        if (const std::optional<Value> known = objects_.find(item)) node = known->as_node();
      if (node == kNoNode) return kNoNode;
      const Node& getitem = graph()[node];
      if (getitem.target != "operator.getitem" || getitem.args.size() != 2 || !getitem.args[0].is_node() ||
          !(getitem.args[1] == Value::integer(i)))
        return kNoNode;
      from = getitem.args[0].as_node();
    }
    if (from == kNoNode || (source != kNoNode && from != source)) return kNoNode;
    source = from;
  }
  const auto it = sequences_.find(source);
  return it != sequences_.end() && it->second.length == count && it->second.type == Py_TYPE(sequence) ? source
                                                                                                      : kNoNode;
}

void Recorder::note_iteration(NodeId node, Py_ssize_t count) {
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return;
  nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  auto* c = reinterpret_cast<PyCodeObject*>(code.ptr());
  const bool by_loop = PyUnicode_CompareWithASCIIString(c->co_name, "__iter__") == 0 && !is_user_code(c);
  const SourceId source = current_source();
  if (source == kNoSource) return;
  // `a, b = x` raises by itself where there are more or fewer.
  static PyObject* const helper =
      nb::object(nb::module_::import_("modulize._bytecode").attr("is_unpacked")).release().ptr();
  const Site& site = sites_[source - 1];
  if (nb::cast<bool>(nb::handle(helper)(nb::handle(reinterpret_cast<PyObject*>(site.code)), site.lasti, !by_loop)))
    return;
  const NodeId length = add_function("builtins.len", {Value::node(node)}, ValueType::number);
  add_function(std::string(kLeak),
               {Value::node(length), Value::integer(count), Value::string("the number of pieces at " + where(source))},
               ValueType::other);
}

Value Recorder::to_value(PyObject* object) {
  if (object == Py_None) return Value::none();
  if (object == Py_True) return Value::boolean(true);
  if (object == Py_False) return Value::boolean(false);
  if (object == Py_Ellipsis) return Value::ellipsis();
  const TorchTypes& torch = TorchTypes::instance();
  PyTypeObject* type = Py_TYPE(object);
  if (type == torch.tensor || PyType_IsSubtype(type, torch.tensor_base)) return tensor_value(object);
  NumberOrigin origin;
  if (traced_origin(object, &origin) && origin.capture == id_)
    return Value::node(origin.index < 0 ? origin.node : element(origin.node, origin.index));
  if (PyLong_Check(object) && (type == &PyLong_Type || traced_origin(object, &origin))) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) return capture_.objects.value(object);
    return Value::integer(value);
  }
  if (PyFloat_Check(object)) return Value::floating(PyFloat_AS_DOUBLE(object));  // numpy.float64 is one too
  if (type == &PyUnicode_Type) {
    if (const auto it = device_types_.find(object); it != device_types_.end()) return Value::node(it->second);
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size);
    if (!text) {
      PyErr_Clear();  // lone surrogates: kept as an object
      return capture_.objects.value(object);
    }
    return Value::string(std::string(text, static_cast<std::size_t>(size)));
  }
  if (const NodeId node = proxy_node(object, *this); node != kNoNode) return Value::node(node);
  if (!objects_.empty())
    if (const std::optional<Value> known = objects_.find(object)) return *known;
  if (objects_.keeps_identity() && mode_ == CaptureMode::running && (type == &PyList_Type || type == &PyDict_Type)) {
    const NodeId whole = type == &PyList_Type && PyList_GET_SIZE(object) > 0 ? whole_sequence(object) : kNoNode;
    return whole != kNoNode ? Value::node(whole) : objects_.rebuild(object);
  }
  if (PyTuple_Check(object) &&
      (type == &PyTuple_Type || type == torch.size || !PyObject_HasAttrString(object, "_fields"))) {
    if (mode_ == CaptureMode::running && PyTuple_GET_SIZE(object) > 0)
      if (const NodeId whole = whole_sequence(object); whole != kNoNode) return Value::node(whole);
    ValueList items;
    items.reserve(static_cast<std::size_t>(PyTuple_GET_SIZE(object)));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) items.push_back(to_value(PyTuple_GET_ITEM(object, i)));
    return Value::tuple(std::move(items));
  }
  if (type == &PyList_Type) {
    if (mode_ == CaptureMode::running && PyList_GET_SIZE(object) > 0)
      if (const NodeId whole = whole_sequence(object); whole != kNoNode) return Value::node(whole);
    ValueList items;
    items.reserve(static_cast<std::size_t>(PyList_GET_SIZE(object)));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i) items.push_back(to_value(PyList_GET_ITEM(object, i)));
    return Value::list(std::move(items));
  }
  if (type == &PyDict_Type) {
    ValueDict items;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);) items.emplace_back(to_value(key), to_value(value));
    return Value::dict(std::move(items));
  }
  if (PySlice_Check(object)) {
    auto* slice = reinterpret_cast<PySliceObject*>(object);
    Value start = to_value(slice->start), stop = to_value(slice->stop);
    return Value::slice(std::move(start), std::move(stop), to_value(slice->step));
  }
  if (type == torch.dtype && mode_ == CaptureMode::running)
    if (const NodeId read = dtypes.as_argument(object); read != kNoNode) return Value::node(read);
  if (type == torch.dtype || type == torch.layout || type == torch.memory_format) {
    nb::object text = checked(PyObject_Repr(object));
    return Value::name(nb::cast<std::string>(text));
  }
  if (type == torch.device) {
    if (const auto it = devices_.find(object); it != devices_.end()) return Value::node(it->second);
    return capture_.objects.value(object);
  }
  if (objects_.needs_rebuilding(object)) return objects_.rebuild(object);
  // numpy's integers count as the ints they stand for.
  if (PyIndex_Check(object) && !PyLong_Check(object)) {
    nb::object plain = nb::steal(PyNumber_Index(object));
    if (plain.is_valid()) return to_value(plain.ptr());
    PyErr_Clear();
  }
  if (PyCallable_Check(object)) {
    const CallName& name = FunctionNames::instance().find(object);
    if (name.form == CallForm::function) return Value::name(name.name);
  }
  if (const auto it = whole_results_.find(object); it != whole_results_.end() && it->second < graph().id_limit())
    return Value::node(it->second);
  // A method that is kept whole takes the module of the prepared model.
  if (const std::string* path = mode_ == CaptureMode::running ? scan_.path_of(object) : nullptr)
    return Value::node(module_node(*path, object));
  return capture_.objects.value(object);
}

NodeId Recorder::add_call(PyObject* callable, const CallName& name, PyObject* args, PyObject* kwargs) {
  Node node;
  switch (name.form) {
    case CallForm::function:
      node.op = Opcode::call_function;
      node.target = name.name;
      break;
    case CallForm::method:
      node.op = Opcode::call_method;
      node.target = name.name;
      break;
    case CallForm::getter:
      node.op = Opcode::call_function;
      node.target = "builtins.getattr";
      break;
    case CallForm::setter:
      node.op = Opcode::call_function;
      node.target = "builtins.setattr";
      break;
    case CallForm::opaque:
      node.op = Opcode::call_function;
      node.callee = capture_.objects.value(callable);
      break;
  }
  const NodeId begin = static_cast<NodeId>(graph().id_limit());
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  node.args.reserve(static_cast<std::size_t>(count) + 1);
  for (Py_ssize_t i = 0; i < count; ++i) {
    node.args.push_back(to_value(PyTuple_GET_ITEM(args, i)));
    if (i == 0 && (name.form == CallForm::getter || name.form == CallForm::setter))
      node.args.push_back(Value::string(name.name));
  }
  // A getter's wrapper is called with (instance,) or (instance, owner).
  if (name.form == CallForm::getter) node.args.resize(2);
  if (kwargs) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
      node.kwargs.emplace_back(
          nb::cast<std::string>(nb::handle(key)),
          PyUnicode_CompareWithASCIIString(key, "training") == 0 ? mode_flag(value, begin) : to_value(value));
  }
  return add_node(std::move(node));
}

void Recorder::note_device_type(PyObject* device, PyObject* text) {
  const auto it = devices_.find(device);
  if (it == devices_.end()) return;
  const NodeId node =
      add_function("builtins.getattr", {Value::node(it->second), Value::string("type")}, ValueType::other);
  if (device_types_.insert_or_assign(text, node).second) Py_INCREF(text);  // its identity means this read
}

void Recorder::note_training_read(PyObject* module) {
  const std::string* path = scan_.path_of(module);
  if (!path) return;
  settle_training_read();
  training_read_ = module;
  use_module(*path, module);
  Node read;
  read.op = Opcode::get_attr;
  read.type = ValueType::number;
  read.target = path->empty() ? "training" : *path + ".training";
  training_read_node_ = add_node(std::move(read));
}

void Recorder::settle_training_read() {
  if (!training_read_) return;
  PyObject* const module = std::exchange(training_read_, nullptr);
  PyObject** slot = _PyObject_GetDictPtr(module);
  PyObject* flag = slot && *slot ? PyDict_GetItemString(*slot, "training") : nullptr;
  if (!flag) return;
  const Node& read = graph()[training_read_node_];
  capture_.mode_reads.push_back({read.target, flag == Py_True, where(read.source)});
}

Value Recorder::mode_flag(PyObject* value, NodeId call_begin) {
  // `F.dropout(x, p, self.training)` arrives with a plain bool, which would freeze the mode: it is the flag that traced
  // code has just read, if nothing was recorded since.
  if (!training_read_ || !PyBool_Check(value) || training_read_node_ + 1 != call_begin) return to_value(value);
  PyObject** slot = _PyObject_GetDictPtr(training_read_);
  if (!slot || !*slot || PyDict_GetItemString(*slot, "training") != value) return to_value(value);
  training_read_ = nullptr;
  return Value::node(training_read_node_);
}

// --- results ---------------------------------------------------------------------------------------------

PyObject* Recorder::wrap_result(PyObject* result, NodeId node, bool in_place) {
  const TorchTypes& torch = TorchTypes::instance();
  Node& n = graph()[node];
  if (torch.is_tensor(result)) {
    n.type = ValueType::tensor;
    if (!in_place && (tag_of(result) != kNoNode || scan_.tensors.contains(result) || constants_.contains(result))) {
      // The call gave an argument back (`contiguous`, dropout in eval mode). Another object for the same data keeps the
      // two apart: in another mode, or for another layout, they are two tensors.
      nb::object alias = checked(PyObject_CallOneArg(torch.detach, result));
      tag(alias.ptr(), node);
      return alias.release().ptr();
    }
    tag(result, node);
    Py_INCREF(result);
    return result;
  }
  if (result == Py_None || PyBool_Check(result)) {
    n.type = result == Py_None ? ValueType::other : ValueType::number;
    Py_INCREF(result);
    return result;
  }
  NumberOrigin other;
  if (traced_origin(result, &other)) {
    // One of the arguments, picked by code that is kept whole: this call says which.
    const nb::object number = checked(plain_number(result));
    return wrap_result(number.ptr(), node, in_place);
  }
  if (PyLong_CheckExact(result)) {
    n.type = ValueType::number;
    return make_traced_int(result, {id_, node, -1});
  }
  if (PyFloat_CheckExact(result)) {
    n.type = ValueType::number;
    return make_traced_float(PyFloat_AS_DOUBLE(result), {id_, node, -1});
  }
  if (PyTuple_Check(result) || PyList_CheckExact(result)) return wrap_sequence(result, node, in_place);
  n.type = ValueType::other;
  if (Py_TYPE(result) == torch.dtype) {
    result = dtypes.note(result, node);
  } else if (Py_TYPE(result) == torch.device) {
    Py_INCREF(result);  // kept alive, so that its identity means this read
    if (!devices_.insert_or_assign(result, node).second) Py_DECREF(result);
  } else if (has_parts(result)) {
    objects_.adopt_result(result, node);
  } else if (mode_ == CaptureMode::running && !PyUnicode_Check(result) && !PyBytes_Check(result) &&
             !PyType_Check(result) && !PyCallable_Check(result) && !PyObject_TypeCheck(result, torch.module) &&
             Py_TYPE(result) != torch.layout && Py_TYPE(result) != torch.memory_format) {
    // An array of numpy's: kept alive, so that its identity means this call.
    Py_INCREF(result);
    if (!whole_results_.insert_or_assign(result, node).second) Py_DECREF(result);
  }
  Py_INCREF(result);
  return result;
}

PyObject* Recorder::wrap_sequence(PyObject* result, NodeId node, bool in_place) {
  const TorchTypes& torch = TorchTypes::instance();
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(result);
  if (PyList_CheckExact(result) && count > 0)
    if (const NodeId known = whole_sequence(result); known != kNoNode && sequences_.at(known).list.is(result)) {
      // Code that is kept whole gave a list back that it had got.
      add_check(add_function("operator.is_", {Value::node(node), Value::node(known)}, ValueType::number),
                Value::boolean(true), "that a call gives the same list back");
      Py_INCREF(result);
      return result;
    }
  sequences_.insert_or_assign(
      node, Sequence{count, Py_TYPE(result), PyList_CheckExact(result) ? nb::borrow(result) : nb::object()});
  bool numbers = count > 0 || Py_TYPE(result) == torch.size;
  const auto is_number = [](PyObject* item) {
    NumberOrigin origin;
    return PyLong_CheckExact(item) || PyFloat_CheckExact(item) || traced_origin(item, &origin);
  };
  for (Py_ssize_t i = 0; i < count && numbers; ++i) numbers = is_number(PySequence_Fast_GET_ITEM(result, i));
  if (numbers) {
    // Sizes and strides: elements are traced ints whose getitem nodes are made at first use.
    graph()[node].type = ValueType::size;
    nb::object items = checked(PyTuple_New(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyObject* item = PySequence_Fast_GET_ITEM(result, i);
      NumberOrigin origin;
      const nb::object plain = traced_origin(item, &origin) ? checked(plain_number(item)) : nb::borrow(item);
      origin = {id_, node, static_cast<std::int32_t>(i)};
      nb::object number =
          checked(PyFloat_CheckExact(plain.ptr()) ? make_traced_float(PyFloat_AS_DOUBLE(plain.ptr()), origin)
                                                  : make_traced_int(plain.ptr(), origin));
      PyTuple_SET_ITEM(items.ptr(), i, number.release().ptr());
    }
    if (PyList_CheckExact(result)) return checked(PySequence_List(items.ptr())).release().ptr();
    if (Py_TYPE(result) == &PyTuple_Type) return items.release().ptr();
    return checked(PyObject_CallOneArg(reinterpret_cast<PyObject*>(Py_TYPE(result)), items.ptr())).release().ptr();
  }
  graph()[node].type = ValueType::other;
  nb::object out = nb::borrow(result);
  bool replaced = false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    nb::object item = nb::borrow(PySequence_Fast_GET_ITEM(out.ptr(), i));
    if (!torch.is_tensor(item.ptr()) && !PyTuple_Check(item.ptr()) && !has_parts(item.ptr()) && !is_number(item.ptr()))
      continue;
    const NodeId element_node =
        add_function("operator.getitem", {Value::node(node), Value::integer(i)}, ValueType::unknown);
    nb::object wrapped = checked(wrap_result(item.ptr(), element_node, in_place));
    if (wrapped.is(item)) continue;
    if (!replaced && PyTuple_Check(out.ptr())) {
      // Rebuilt only where an element had to become another object; a named result keeps its class.
      nb::object list = checked(PySequence_List(out.ptr()));
      PyList_SetItem(list.ptr(), i, wrapped.release().ptr());
      out = std::move(list);
      replaced = true;
    } else if (PyList_Check(out.ptr())) {
      PyList_SetItem(out.ptr(), i, wrapped.release().ptr());
    }
  }
  if (!replaced) return out.release().ptr();
  return with_parts(Py_TYPE(result), parts_of(out.ptr()), result).release().ptr();
}

// --- calls ------------------------------------------------------------------------------------------------

PyObject* Recorder::run(PyObject* function, PyObject* args, PyObject* kwargs) {
  return PyObject_Call(function, args, kwargs);
}

PyObject* Recorder::torch_call(PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName name = FunctionNames::instance().find(function);
  PauseFlag quiet(*this);

  // Calls that are about Python, not about the computation.
  if (name.form == CallForm::method) {
    const std::string& m = name.name;
    if (m == "__repr__" || m == "__str__" || m == "__format__" || m == "__hash__" || m == "__dir__" ||
        m == "__reduce_ex__" || m == "is_shared")
      return run(function, args, kwargs);
    if (mode_ == CaptureMode::running) {
      if (m == "__bool__") {
        PyObject* tensor = PyTuple_GET_ITEM(args, 0);
        const Value value = tensor_value(tensor);
        nb::object natural;
        if (nb::cast<bool>(nb::handle(tensor).attr("is_meta"))) {
          natural = nb::bool_(true);  // there is no value: both sides are explored all the same
        } else {
          natural = nb::steal(run(function, args, kwargs));
          if (!natural.is_valid()) return nullptr;
        }
        return PyBool_FromLong(decide(value.as_node(), natural.ptr() == Py_True));
      }
      if (m == "numpy" || m == "__array__" || m == "__int__" || m == "__float__" || m == "__index__" ||
          m == "__complex__")
        refuse_control_flow("Tensor." + m + "()");
    }
  }
  if (name.name == "torch._C._set_grad_enabled" || name.name == "torch._assert") {
    if (name.name == "torch._assert" && PyTuple_GET_SIZE(args) > 0 && PyTuple_GET_ITEM(args, 0) == Py_True)
      return run(function, args, kwargs);
  }
  if (PyCFunction_Check(function) && name.name.ends_with("_set_grad_enabled") && PyTuple_GET_SIZE(args) == 1) {
    regions->set_gradients(to_value(PyTuple_GET_ITEM(args, 0)));
    return run(function, args, kwargs);
  }

  refuse_function_transforms(*this);
  const NodeId first = static_cast<NodeId>(graph().id_limit());
  const bool excluded = !excluded_functions.empty() && excluded_functions.contains(function);
  if (mode_ == CaptureMode::symbolic) {
    const NodeId node = add_call(function, excluded ? CallName{} : name, args, kwargs);
    return make_proxy(node);
  }
  try {
    if (name.may_raise) require_uncaught("a call that may raise by a value", true);
    NodeId node = add_call(function, excluded ? CallName{} : name, args, kwargs);
    if (name.in_place && narrows(graph()[node], args)) node = write_back(node);
    save_before_writes(name, args, kwargs);
    nb::object result = nb::steal(run(function, args, kwargs));
    if (!result.is_valid()) {
      nb::python_error raised;
      require_uncaught("a call that raises", false);
      rollback(first);
      raised.restore();
      return nullptr;
    }
    if (result.is(nb::handle(Py_NotImplemented))) {
      rollback(first);
      return result.release().ptr();
    }
    if (reads_value(name)) {
      if (from_value_.size() <= node) from_value_.resize(node + 1, false);
      from_value_[node] = true;
    }
    if (PyBool_Check(result.ptr()) && answers_by_value(name)) {
      graph()[node].type = ValueType::number;
      return PyBool_FromLong(decide(node, result.ptr() == Py_True));
    }
    // Before the pieces are taken out, which fewer of them would not allow.
    if (gives_pieces(name) && PyTuple_Check(result.ptr())) note_iteration(node, PyTuple_GET_SIZE(result.ptr()));
    return wrap_result(result.ptr(), node, name.in_place);
  } catch (...) {
    rollback(first);
    throw;
  }
}

// `half += float32` computes in float32 and stays float16. The module that takes the place of `add_` would yield
// float32, so the two steps are recorded as what they are: %add = add(%x, %y), then copy_(%x, %add).
NodeId Recorder::write_back(NodeId in_place) {
  Node& computed = graph()[in_place];
  computed.target.pop_back();
  computed.type = ValueType::tensor;
  Node copy;
  copy.op = Opcode::call_method;
  copy.target = "copy_";
  copy.args = {computed.args[0], Value::node(in_place)};
  return add_node(std::move(copy));
}

namespace {
/// The same in every capture of a model.
std::string function_label(PyObject* function) {
  nb::object code = nb::getattr(function, "__code__", nb::none());
  const std::string name = text_of(nb::getattr(function, "__qualname__", nb::none()));
  return code.is_none() ? name : name + ":" + text_of(nb::object(code.attr("co_firstlineno")));
}
}  // namespace

NodeId Recorder::enter_sites(const std::string& region) {
  return add_function(std::string(kEnter),
                      {Value::string(kSitesContext), Value::node(root_module()), Value::string(region)},
                      ValueType::other);
}

void Recorder::leave_sites(NodeId enter) { add_function(std::string(kLeave), {Value::node(enter)}, ValueType::other); }

void Recorder::before_unrecorded_call(PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName& name = FunctionNames::instance().find(function);
  if (name.form == CallForm::function || name.form == CallForm::method) save_before_writes(name, args, kwargs);
}

void Recorder::note_site(PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName& name = FunctionNames::instance().find(function);
  if (name.form != CallForm::function && name.form != CallForm::method) return;
  const SourceId source = current_source();
  if (source == kNoSource) return;
  const Site& at = sites_[source - 1];
  nb::object code = nb::borrow(reinterpret_cast<PyObject*>(at.code));
  KeptSite site;
  const std::string file = nb::cast<std::string>(code.attr("co_filename"));
  site.file = file.substr(file.rfind('/') + 1);
  site.function = nb::cast<std::string>(code.attr("co_name"));
  site.first_line = nb::cast<int>(code.attr("co_firstlineno"));
  site.instruction = at.lasti;
  site.name = text_of(nb::getattr(function, "__name__", nb::none()));
  site.call = name;
  site.positional = static_cast<std::size_t>(PyTuple_GET_SIZE(args));
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t i = 0; PyDict_Next(kwargs, &i, &key, &value);)
      site.keywords.push_back(nb::cast<std::string>(nb::handle(key)));
  site.where = file + ":" + std::to_string(line_of(at.code, at.lasti));
  std::vector<KeptSite>& known = capture_.sites[*observed_];
  if (std::find(known.begin(), known.end(), site) == known.end()) known.push_back(std::move(site));
}

void Recorder::check_structure_made(nb::handle structure, NodeId value, const std::string& text) {
  add_function(std::string(kCheckMade), {Value::node(value), capture_.objects.value(structure), Value::string(text)},
               ValueType::other);
}

void Recorder::check_made(nb::handle value, NodeId node, const std::string& text, bool follows_numbers) {
  const MadeStructure made = structure_of_made(value, follows_numbers);
  if (!made.hidden.empty()) refuse_control_flow("what Python does with the " + made.hidden + " in " + text);
  check_structure_made(made.structure, node, text);
  const auto node_at = [&](const std::vector<Part>& path) {
    NodeId at = node;
    for (const Part& part : path) at = objects_.part_node(at, part);
    return at;
  };
  for (const auto& [path, object] : made.with_plain_numbers)
    add_function(std::string(kLeak),
                 {Value::node(node_at(path)), capture_.objects.value(structure_of(object)), Value::string(text)},
                 ValueType::other);
  for (const auto& [path, list] : made.lists)
    check_structure_made(structure_of(nb::int_(nb::len(list))),
                         add_function("builtins.len", {Value::node(node_at(path))}, ValueType::number),
                         "the length of " + text);
}

void Recorder::check_yielded(nb::handle result, NodeId node, const std::string& callee, bool is_excluded) {
  if (is_excluded && TorchTypes::instance().is_tensor(result.ptr())) return;
  check_made(result, node, "what " + callee + " yields", true);
}

PyObject* Recorder::opaque_call(PyObject* function, PyObject* args, PyObject* kwargs, const char* kept, bool observes) {
  const NodeId first = static_cast<NodeId>(graph().id_limit());
  CallName name = FunctionNames::instance().find(function);
  if (name.form == CallForm::method) name = CallName{};  // only functions come here
  if (kept) keep(name.form == CallForm::function ? name.name : name_of(function), kept);
  const std::string callee = kept ? text_of(nb::getattr(function, "__qualname__", nb::none())) : "";
  KnownObjects::SeenWhole whole(objects_, kept != nullptr, args, kwargs, callee);
  if (excluded_functions.contains(function)) name = CallName{};
  require_uncaught("a call that is kept whole", kept == nullptr);
  try {
    const std::string region = observes ? scope_path() + "|" + function_label(function) : "";
    const NodeId sites = observes ? enter_sites(region) : kNoNode;
    // stochastic_depth(x, p, "row", self.training): the one bool among the arguments is the flag just read.
    std::size_t flags = 0, position = 0;
    Value flag;
    for (Py_ssize_t i = 0; training_read_ && i < PyTuple_GET_SIZE(args); ++i)
      if (PyBool_Check(PyTuple_GET_ITEM(args, i))) ++flags, position = static_cast<std::size_t>(i);
    if (flags == 1) flag = mode_flag(PyTuple_GET_ITEM(args, static_cast<Py_ssize_t>(position)), first);
    const NodeId node = add_call(function, name, args, kwargs);
    if (flags == 1) graph()[node].args[position] = flag;
    if (mode_ == CaptureMode::symbolic) return make_proxy(node);
    nb::object result;
    {
      const Observe inside(*this, observes ? &region : nullptr, false);
      result = nb::steal(run(function, args, kwargs));
    }
    if (!result.is_valid()) {
      rollback(first);
      return nullptr;
    }
    if (observes) leave_sites(sites);
    if (kept && PyBool_Check(result.ptr())) {
      graph()[node].type = ValueType::number;
      return PyBool_FromLong(decide(node, result.ptr() == Py_True));
    }
    Pause quiet(*this);
    whole.reread();
    if (kept) check_yielded(result, node, callee, excluded_functions.contains(function));
    return wrap_result(result.ptr(), node, false);
  } catch (...) {
    rollback(first);
    throw;
  }
}

// --- numbers ------------------------------------------------------------------------------------------------

PyObject* Recorder::number_operation(const char* name, PyObject* const* operands, int count, PyObject* result) {
  nb::object owned = nb::steal(result);
  ValueList args;
  bool value_derived = false;
  for (int i = 0; i < count; ++i) {
    Value v = to_value(operands[i]);
    if (v.is_node()) value_derived |= v.as_node() < from_value_.size() && from_value_[v.as_node()];
    args.push_back(std::move(v));
  }
  const std::string_view text = name;
  if (value_derived) require_uncaught("arithmetic on a number read from a tensor", true);
  const NodeId node = add_function(text.find('.') == text.npos ? "operator." + std::string(text) : std::string(text),
                                   std::move(args), ValueType::number);
  if (value_derived) {
    from_value_.resize(node + 1, false);
    from_value_[node] = true;
  }
  return wrap_result(owned.ptr(), node, false);
}

namespace {
/// Is it Tensor.__iter__ that runs? It refuses tensors without dimensions, and so does the unbind that it returns.
bool is_in_tensor_iter() {
  static PyObject* const iter_code =
      nb::object(nb::module_::import_("torch").attr("Tensor").attr("__iter__").attr("__code__")).release().ptr();
  PyFrameObject* const frame = PyEval_GetFrame();
  return frame && nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame))).is(nb::handle(iter_code));
}
}  // namespace

bool Recorder::number_decision(const char* name, PyObject* const* operands, int count, bool truth) {
  if (is_in_tensor_iter()) return truth;
  ValueList args;
  bool by_value = false;
  for (int i = 0; i < count; ++i) {
    Value v = to_value(operands[i]);
    by_value |= v.is_node() && v.as_node() < from_value_.size() && from_value_[v.as_node()];
    args.push_back(std::move(v));
  }
  const NodeId condition = add_function("operator." + std::string(name), std::move(args), ValueType::number);
  if (by_value) return decide(condition, truth);
  const std::string line = here();
  add_check(condition, Value::boolean(truth), "a decision on sizes" + (line.empty() ? "" : " at " + line));
  return truth;
}

void Recorder::number_leak(const char* what, PyObject* number) {
  const Value value = to_value(number);
  if (!value.is_node()) return;
  if (value.as_node() < from_value_.size() && from_value_[value.as_node()])
    refuse_control_flow(std::string(what) + " of a number read from a tensor");
  // Before Python's: the number may be asked for again at once, for a key twice.
  if (value.as_node() == last_leak_) return;
  last_leak_ = value.as_node();
  nb::object plain = checked(plain_number(number));
  const std::string line = here();
  add_function(std::string(kLeak),
               {value, to_value(plain.ptr()),
                Value::string(std::string("a size that Python uses as ") + what + (line.empty() ? "" : " at " + line))},
               ValueType::other);
}

bool note_number_leak(const char* what, PyObject* self) {
  Recorder* recorder = Recorder::recording();
  NumberOrigin origin;
  if (!recorder || !traced_origin(self, &origin) || origin.capture != recorder->id()) return true;
  return guarded<bool>(false, [&] {
    recorder->number_leak(what, self);
    return true;
  });
}

PyObject* record_number_operation(const char* name, PyObject* const* operands, int count, PyObject* result) {
  if (result == Py_NotImplemented) return result;
  Recorder* recorder = Recorder::recording();
  if (!recorder) return result;
  bool ours = false;
  NumberOrigin origin;
  for (int i = 0; i < count; ++i) ours |= traced_origin(operands[i], &origin) && origin.capture == recorder->id();
  if (!ours) return result;
  if (!result)
    return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
      nb::python_error raised;
      recorder->require_uncaught("arithmetic that raises", false);
      throw raised;
    });
  return guarded<PyObject*>(nullptr, [&] { return recorder->number_operation(name, operands, count, result); });
}

int record_number_decision(const char* name, PyObject* const* operands, int count, bool truth) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return truth;
  bool ours = false;
  NumberOrigin origin;
  for (int i = 0; i < count; ++i) ours |= traced_origin(operands[i], &origin) && origin.capture == recorder->id();
  if (!ours) return truth;
  return guarded<int>(-1, [&] { return recorder->number_decision(name, operands, count, truth) ? 1 : 0; });
}

}  // namespace modulize
