// What asks for values that are not there: of tensors on the meta device.
#include "bridge/record/recorder.h"

namespace modulize {

bool Decisions::decide_unknown(NodeId value) {
  const std::string& how = recorder_.settings.on_dynamic;
  if (how == "error") refuse_control_flow("control flow on the value of a tensor");
  if (how != "branch") refuse_without_values("on_dynamic=\"" + how + "\", for a decision on the value of a tensor,");
  recorder_.capture().on_meta.values.push_back(recorder_.places().here());
  return branch(value, true, {}, true);
}

void Decisions::refuse_without_values(const std::string& what, const std::string& error) {
  Capture& capture = recorder_.capture();
  // Decisions in such code are not seen.
  const bool is_kept = Recorder::observing() && !capture.kept.empty();
  const Error refused(ErrorCode::UnsupportedError,
                      what + recorder_.places().in_words() +
                          (is_kept ? ", in code that is kept whole (" + capture.kept.back().reason + ")," : "") +
                          " cannot run on the meta device, where tensors have no values" +
                          (error.empty() ? "" : " (" + error + ")") +
                          ": prepare the model with its weights, or without example_inputs, or choose an "
                          "implementation that runs there; decisions need no value (on_dynamic=\"branch\")");
  capture.on_meta.values.push_back(recorder_.places().here());
  capture.on_meta.is_refused = true;
  note_refusal(refused);
  throw refused;
}

void Decisions::require_known(const Node& call) {
  call.for_each_input([&](NodeId input) {
    if (recorder_.origins().is_unknown(Value::node(input)))
      refuse_without_values("a number read from a tensor and given to " +
                            (call.target.empty() ? std::string("a call") : call.target + "()"));
  });
}

}  // namespace modulize
