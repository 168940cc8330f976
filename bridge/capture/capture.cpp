#include "bridge/capture/capture.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "bridge/boundary/module_state.h"
#include "bridge/capture/forward_call.h"
#include "bridge/intercept/all.h"
#include "bridge/intercept/dtypes.h"
#include "bridge/intercept/torch_functions.h"
#include "bridge/python/errors.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"
#include "bridge/record/regions.h"
#include "bridge/world/checkpoint.h"

namespace modulize {

namespace {

/// Captures of several threads take turns: what they replace is the process's. A capture within a capture is the same
/// thread's and goes on.
class CaptureTurn {
 public:
  CaptureTurn() {
    static PyObject* const lock = nb::module_::import_("threading").attr("RLock")().release().ptr();
    lock_ = nb::borrow(lock);
    lock_.attr("acquire")();
  }
  ~CaptureTurn() {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject* done = PyObject_CallMethod(lock_.ptr(), "release", nullptr);
    if (!done) PyErr_WriteUnraisable(lock_.ptr());
    Py_XDECREF(done);
    PyErr_Restore(type, value, trace);
  }

 private:
  nb::object lock_;
};

void insert_all(std::unordered_set<PyObject*>& set, const nb::object& items) {
  if (items.is_none()) return;
  for (nb::handle item : items) set.insert(item.ptr());
}

void exclude_tree(Recorder& recorder, nb::handle module) {
  for (nb::handle child : module.attr("modules")()) recorder.excluded_modules.insert(child.ptr());
}

/// Refuses what a prepared model, which is of a class of its own, cannot do: `self.__class__ = Other`, and where all of
/// forward is kept, `type(self).count += 1`, which would count in that class.
void require_own_classes(nb::handle root, const ModuleScan& scan, const OutsideState& outside, bool is_root_kept) {
  for (const ModuleScan::Entry& entry : scan.modules)
    if (reinterpret_cast<PyObject*>(Py_TYPE(entry.module)) != entry.type.ptr())
      throw Error(ErrorCode::UnsupportedError,
                  "forward changes the class of " +
                      (entry.path.empty() ? std::string("the model") : "module '" + entry.path + "'") +
                      ", which a prepared model cannot: decide by an attribute instead");
  if (!is_root_kept) return;
  const std::string written = outside.written_attribute_of(Py_TYPE(root.ptr()));
  if (!written.empty())
    throw Error(ErrorCode::CaptureError, "forward writes '" + written + "' of the class " +
                                             Py_TYPE(root.ptr())->tp_name +
                                             ", which a prepared model cannot: keep it in the model or in its module");
}

/// "ValueError: no rows". The text of an exception of the user's may fail.
std::string text_of_error(nb::python_error& error) {
  std::string out = text_of(error.type().attr("__name__"));
  const nb::object text = nb::steal(PyObject_Str(error.value().ptr()));
  const char* utf8 = text.is_valid() ? PyUnicode_AsUTF8(text.ptr()) : nullptr;
  if (!utf8) PyErr_Clear();
  if (utf8 && *utf8) out += std::string(": ") + utf8;
  return out;
}

}  // namespace

namespace {

void configure(Recorder& recorder, const CaptureOptions& options) {
  if (!options.modules_to_exclude.is_none())
    for (nb::handle module : options.modules_to_exclude) exclude_tree(recorder, module);
  insert_all(recorder.excluded_classes, options.module_classes_to_exclude);
  insert_all(recorder.excluded_functions, options.functions_to_exclude);
  recorder.on_dynamic = options.on_dynamic;
  recorder.spells_operators = options.spell_operators;
  recorder.keep_blocks = options.keep_blocks;
  recorder.outcomes = options.outcomes;
  if (options.kept) {
    for (const KeptFunction& kept : options.kept->functions)
      recorder.kept_functions.emplace(kept.function.ptr(), &kept);
    for (const ModuleScan::Entry& entry : recorder.scan().modules)
      if (const auto it = options.kept->modules.find(entry.path); it != options.kept->modules.end())
        recorder.kept_modules.emplace(entry.module, it->second);
  }
  recorder.flipped = options.flipped;
  recorder.silent = options.silent;
  recorder.decided = options.decided;
  recorder.dtypes.tried = options.tried_dtypes;
}

/// What the capture says of the world that forward left, which is put back.
void settle_world(Checkpoint& world, const OutsideState& outside, bool running, Capture& capture) {
  capture.overwritten = world.written();
  // By running, what is another at every call shows in the second capture.
  if (!running) capture.outside_suspects = outside.suspects();
  capture.written_state = world.restore();
  for (const std::string& name : capture.state_writes)
    if (std::find(capture.written_state.begin(), capture.written_state.end(), name) == capture.written_state.end())
      capture.written_state.push_back(name);
  OutsideChanges changes = world.take_outside_changes();
  if (!changes.empty() || !capture.outside_suspects.empty())
    capture.outside = std::make_shared<OutsideChanges>(std::move(changes));
}

}  // namespace

static void record_model(nb::handle root, const CaptureOptions& options, Capture& capture) {
  const bool running = options.is_running();
  const CaptureMode mode = running ? CaptureMode::running : CaptureMode::symbolic;
  if (PyObject_TypeCheck(root.ptr(), TorchTypes::instance().script_module))
    throw Error(
        ErrorCode::UnsupportedError,
        "the model is a ScriptModule, compiled by torch.jit, and has no Python code to capture: prepare the model "
        "that it was made of, then script or trace that");
  FunctionNames::instance();  // before math.* and others are replaced, so that it knows the real ones
  std::optional<ModuleScan> own_scan;
  const ModuleScan& scan = options.scan ? *options.scan : own_scan.emplace(scan_modules(root));
  if (!running) proxy_type();
  CaptureTurn turn;
  const std::shared_ptr<const OutsideState> outside =
      options.outside ? options.outside : std::make_shared<const OutsideState>(scan);
  // Without inputs, containers are looked at once something is known to be written: most models write nothing, and the
  // capture is short.
  const bool follows_state = running || options.state;
  Checkpoint world(
      scan, {.with_values = running, .with_containers = follows_state, .outside = outside, .given = worlds_around(options)});
  if (options.other_random_numbers) world.generators().draw_others();
  Recorder recorder(root, mode, scan, world, capture);
  capture.graph.name = "net";
  configure(recorder, options);
  std::optional<StateWrites> state;
  if (follows_state) recorder.state = &state.emplace(recorder, options.state);
  if (options.kept && options.kept->root) recorder.state = nullptr;  // forward itself writes

  const bool is_outlined = options.kept && options.kept->forward.is_valid() && !options.kept->root;
  nb::object forward = is_outlined ? options.kept->forward.attr("__get__")(root) : nb::object(root.attr("forward"));
  capture.forward_code = forward_code_of(root, is_outlined ? options.kept : nullptr);
  {
    Patches patches;
    const DtypeComparisons comparisons;
    patch_all(patches, recorder,
              {.gradients_were_enabled = world.gradients_were_enabled(),
               .globals_naming_type = running ? std::vector<PyObject*>() : outside->globals_naming("type"),
               .decompose_attention = options.decompose_attention,
               .with_given_modules = running && !modules_in(given_to(options).ptr()).empty(),
               .excluded_functions = options.functions_to_exclude,
               .kept = options.kept});
    ActiveRecorder active(recorder);
    ModeOnStack on_stack(recorder);
    recorder.meet_globals_of(root.ptr());
    recorder.use_module("", root.ptr());  // the root scope: its mode flag decides about dropout
    try {
      record_forward(root, options, recorder, forward);
      require_own_classes(root, scan, *outside, options.kept && options.kept->root);
    } catch (nb::python_error& error) {
      // What a request or an error of ours became on its way through Python.
      if (!recorder.request) {
        if (is_error(error, ErrorCode::CaptureError))
          throw Error(ErrorCode::CaptureError, text_of(nb::handle(error.value())));
        throw;
      }
    } catch (const Error&) {
      if (!recorder.request) throw;
    }
  }
  // Forward may have caught them.
  if (recorder.request) throw *recorder.request;
  if (recorder.refusal) throw *recorder.refusal;
  recorder.on_globals = nullptr;
  for (const std::string& region : capture.without_modes) capture.sites.erase(region);
  settle_world(world, *outside, running, capture);
  recorder.finish();
  // The user's own names that begin like ours may not be given to new modules.
  for (const std::string& path : scan.taken)
    if (!capture.graph.modules.is_taken(path)) capture.graph.modules.add_taken(path);
}

void capture_model(nb::handle root, const CaptureOptions& options, Capture& capture) {
  Stopwatch watch;
  const auto note = [&](const std::string& error) {
    if (options.journal) options.journal->captured(options.cause, capture.graph, error, watch.lap());
  };
  try {
    record_model(root, options, capture);
  } catch (const Error& error) {
    note(error.what());
    throw;
  } catch (nb::python_error& error) {
    note(text_of_error(error));
    throw;
  }
  note("");
}

bool try_capture(nb::handle root, const CaptureOptions& options, Capture& capture) {
  try {
    capture_model(root, options, capture);
    return true;
  } catch (const Error&) {
    return false;
  } catch (nb::python_error& error) {
    if (is_fatal(error)) throw;
    return false;
  }
}

}  // namespace modulize
