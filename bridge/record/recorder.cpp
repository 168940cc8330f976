#include "bridge/record/recorder.h"

#include <frameobject.h>

#include <algorithm>
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/record/proxy.h"
#include "bridge/record/regions.h"
#include "ir/control.h"
#include "ir/regions.h"
#include "ir/runtime_calls.h"

namespace modulize {

namespace {

thread_local Recorder* current_recorder = nullptr;
std::uint32_t next_capture_id = 1;  // guarded by the GIL

}  // namespace

PyObject* tag_key() {
  static PyObject* const key = PyUnicode_InternFromString("_modulize_node");
  return key;
}

Recorder::Recorder(nb::handle root, CaptureMode mode, const ModuleScan& scan, Checkpoint& world, Capture& capture)
    : id_(next_capture_id++), mode_(mode), scan_(scan), world_(world), capture_(capture), objects_(*this) {
  capture_.root = nb::borrow(root);
  regions = std::make_unique<Regions>(*this);
}

Recorder::~Recorder() {
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

std::vector<KeepCandidate> Recorder::candidates() { return keep_candidates(capture_, running_codes(), scope_); }

bool Recorder::decide(NodeId value, bool natural) {
  if (on_dynamic == "error" || on_dynamic == "keep") refuse_control_flow("control flow on the value of a tensor");
  const SourceId source = current_source();
  if (on_dynamic == "specialize") {
    add_check_here(add_function(std::string(kTruth), {Value::node(value)}, ValueType::number), Value::boolean(natural),
                   "a decision on a value");
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
  given.rollback(first);
  regions->rollback(first);
  std::erase_if(capture_.ambient_questions, [&](const AmbientQuestion& entry) { return entry.value >= first; });
}

NodeId Recorder::element(NodeId node, std::int32_t index) {
  const std::uint64_t key = (static_cast<std::uint64_t>(node) << 32) | static_cast<std::uint32_t>(index);
  if (const auto it = elements_.find(key); it != elements_.end()) return it->second;
  const NodeId made = add_function("operator.getitem", {Value::node(node), Value::integer(index)}, ValueType::number);
  if (is_from_value(Value::node(node))) mark_read_from_value(made);
  elements_.emplace(key, made);
  element_order_.push_back(key);
  return made;
}

void Recorder::add_check(NodeId value, Value expected, const std::string& text) {
  add_function(std::string(kCheck), {Value::node(value), std::move(expected), Value::string(text)}, ValueType::other);
}

void Recorder::add_check_here(NodeId value, Value expected, const std::string& text) {
  ValueList args = {Value::node(value), std::move(expected), Value::string(text)};
  if (std::string line = here(); !line.empty()) args.push_back(Value::string(std::move(line)));
  add_function(std::string(kCheck), std::move(args), ValueType::other);
}

void Recorder::add_structure_check(NodeId value, nb::handle structure, const std::string& text) {
  add_function(std::string(kCheckStructure),
               {Value::node(value), capture_.objects.value(structure), Value::string(text)}, ValueType::other);
}

void Recorder::mark_read_from_value(NodeId node) {
  if (from_value_.size() <= node) from_value_.resize(node + 1, false);
  from_value_[node] = true;
}

void refuse_function_transforms(Recorder& recorder) {
  static PyObject* const are_active = [] {
    nb::object c = nb::module_::import_("torch").attr("_C");
    return nb::object(nb::getattr(c, "_are_functorch_transforms_active", nb::none())).release().ptr();
  }();
  if (are_active == Py_None) return;
  nb::object active = checked(PyObject_CallNoArgs(are_active));
  if (active.ptr() == Py_True)
    recorder.refuse_control_flow("a transform of torch.func other than vmap, grad and grad_and_value");
}

}  // namespace modulize
