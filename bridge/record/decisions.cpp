#include "bridge/record/decisions.h"

#include "bridge/python/errors.h"
#include "bridge/record/checks.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/record/recorder.h"
#include "bridge/record/stand_ins.h"
#include "ir/control.h"

namespace modulize {

void Decisions::refuse_control_flow(const std::string& what) {
  Places& places = recorder_.places();
  if (recorder_.mode() == CaptureMode::symbolic)
    throw Error(ErrorCode::CaptureError,
                what + places.in_words() +
                    " needs a value, and there is none without inputs: give example_inputs, fix the argument by "
                    "concrete_args, or put the code into a function under torch.fx.wrap");
  std::string generator;
  for (const RunningCode& frame : places.running_codes())
    if (reinterpret_cast<PyCodeObject*>(frame.code.ptr())->co_flags & CO_GENERATOR)
      generator = text_of(frame.code.attr("co_filename")) + ":" + std::to_string(frame.line);
  ask_to_keep(what,
              " depends on the value of a tensor: exclude the function (functions_to_exclude) or the module "
              "(modules_to_exclude) that does it",
              recorder_.settings.on_dynamic == "error" ? std::vector<KeepCandidate>() : candidates(),
              std::move(generator));
}

std::vector<KeepCandidate> Decisions::candidates() {
  Places& places = recorder_.places();
  return keep_candidates(recorder_.capture(), places.running_codes(), places.scope());
}

void Decisions::ask_to_keep(const std::string& why, const std::string& advice, std::vector<KeepCandidate> candidates,
                            std::string generator) {
  KeepRequest made(why + recorder_.places().in_words() + advice, why, std::move(candidates));
  made.generator = std::move(generator);
  if (!request_) request_ = made;
  throw made;
}

std::string Decisions::place_of_decision() {
  Places& places = recorder_.places();
  const SourceId source = places.current();
  const Scope& scope = recorder_.graph().scope(places.scope());
  std::string place = scope.path + '#' + std::to_string(scope.call) + '@';
  if (source != kNoSource) {
    const CodeSite& site = places.site(source);
    place += std::to_string(reinterpret_cast<std::uintptr_t>(site.code)) + '+' + std::to_string(site.lasti);
  }
  return place;
}

std::optional<bool> Decisions::known_outcome() {
  const Settings& settings = recorder_.settings;
  if (settings.on_dynamic != "branch") return std::nullopt;
  const std::string place = place_of_decision(), key = place + '*' + std::to_string(times_decided_[place]);
  if (settings.outcomes)
    if (const auto it = settings.outcomes->find(key); it != settings.outcomes->end()) return it->second;
  return settings.stand_ins ? settings.stand_ins->outcome(key) : std::nullopt;
}

bool Decisions::decide(NodeId value, bool natural, const std::string& question) {
  const Settings& settings = recorder_.settings;
  if (settings.on_dynamic == "error" || settings.on_dynamic == "keep")
    refuse_control_flow("control flow on the value of a tensor");
  if (settings.on_dynamic == "specialize") {
    const NodeId truth = recorder_.add_function(std::string(kTruth), {Value::node(value)}, ValueType::number);
    add_check_here(recorder_, truth, Value::boolean(natural), "a decision on a value");
    return natural;
  }
  return branch(value, natural, question, false);
}

bool Decisions::branch(NodeId value, bool natural, const std::string& question, bool is_unknown) {
  const Settings& settings = recorder_.settings;
  std::string key = place_of_decision();
  const std::uint32_t times = times_decided_[key]++;
  if (times >= 24) refuse_control_flow("a loop that ends by the value of a tensor");
  key += '*' + std::to_string(times);
  if (is_unknown) {
    natural =
        !settings.unknown_outcomes || !settings.unknown_outcomes->contains(key) || settings.unknown_outcomes->at(key);
  } else if (settings.stand_ins && question.empty()) {
    // Draws that were left out change nothing.
    settings.stand_ins->note_outcome(key, natural);
    natural = settings.stand_ins->outcome(key).value_or(natural);
  }
  bool outcome = natural != settings.flipped.contains(question);
  if (settings.outcomes)
    if (const auto it = settings.outcomes->find(key); it != settings.outcomes->end()) outcome = it->second;
  const NodeId node = recorder_.add_function(std::string(kTruth), {Value::node(value)}, ValueType::number);
  recorder_.capture().decisions.push_back({node, std::move(key), outcome, natural, question, is_unknown});
  return outcome;
}

void refuse_function_transforms(Recorder& recorder) {
  static PyObject* const are_active = [] {
    nb::object c = nb::module_::import_("torch").attr("_C");
    return nb::object(nb::getattr(c, "_are_functorch_transforms_active", nb::none())).release().ptr();
  }();
  if (are_active == Py_None) return;
  nb::object active = checked(PyObject_CallNoArgs(are_active));
  if (active.ptr() == Py_True)
    recorder.decisions().refuse_control_flow("a transform of torch.func other than vmap, grad and grad_and_value");
}

}  // namespace modulize
