#include "bridge/record/recorder.h"

#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/stand_ins.h"

namespace modulize {

namespace {

thread_local Recorder* current_recorder = nullptr;

}  // namespace

Recorder::Recorder(CaptureMode mode, Settings told, const ModuleScan& scan, Checkpoint& world, Capture& capture)
    : settings(std::move(told)),
      mode_(mode),
      scan_(scan),
      world_(world),
      capture_(capture),
      places_(capture, mode == CaptureMode::running) {}

Recorder::~Recorder() {
  // Tensors that outlive the capture lose their tags; those in the user's own caches keep one that means nothing any
  // more.
  for (const auto& [tensor, path] : scan_.tensors) Origins::untag(tensor);
  places_.give_sources();  // a capture that ended early is looked at, too
}

Recorder* Recorder::recording() {
  return current_recorder && !current_recorder->attention_.is_paused ? current_recorder : nullptr;
}
Recorder* Recorder::current() { return current_recorder; }
Recorder* Recorder::observing() {
  return current_recorder && current_recorder->attention_.observed ? current_recorder : nullptr;
}

ActiveRecorder::ActiveRecorder(Recorder& recorder) : previous_(current_recorder) {
  current_recorder = &recorder;
  error_listener = [](const Error& error) {
    if (current_recorder && error.code() == ErrorCode::CaptureError) current_recorder->decisions().note_refusal(error);
  };
}
ActiveRecorder::~ActiveRecorder() { current_recorder = previous_; }

NodeId Recorder::add_node(Node node) {
  node.scope = places_.scope();
  node.source = places_.current();
  if (mode_ == CaptureMode::symbolic && may_raise_symbolically(node)) decisions_.require_uncaught_symbols(node.source);
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
  origins_.rollback(first);
  objects_.rollback(first);
  given_.rollback(first);
  regions_.rollback(first);
  if (settings.stand_ins) settings.stand_ins->rollback(first);
  std::erase_if(capture_.ambient_questions, [&](const AmbientQuestion& entry) { return entry.value >= first; });
}

void Recorder::finish() {
  dtypes_.finish();
  if (settings.spells_operators && mode_ == CaptureMode::running) places_.spell_operators();
  places_.give_sources();
}

}  // namespace modulize
