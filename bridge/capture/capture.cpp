#include "bridge/capture/capture.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "bridge/boundary/module_state.h"
#include "bridge/capture/forward_call.h"
#include "bridge/intercept/all.h"
#include "bridge/intercept/dtypes.h"
#include "bridge/intercept/numbers.h"
#include "bridge/intercept/torch_functions.h"
#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "bridge/record/function_names.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/record/modules.h"
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

Settings settings_of(const CaptureOptions& options, const ModuleScan& scan) {
  Settings out;
  if (!options.modules_to_exclude.is_none())
    for (nb::handle module : options.modules_to_exclude) insert_all(out.excluded_modules, module.attr("modules")());
  insert_all(out.excluded_classes, options.module_classes_to_exclude);
  insert_all(out.excluded_functions, options.functions_to_exclude);
  out.on_dynamic = options.on_dynamic;
  out.spells_operators = options.spell_operators;
  out.keeps_blocks = options.keep_blocks;
  out.outcomes = options.outcomes;
  out.unknown_outcomes = options.unknown_outcomes.get();
  if (options.kept) {
    for (const KeptFunction& kept : options.kept->functions) out.kept_functions.emplace(kept.function.ptr(), &kept);
    for (const ModuleScan::Entry& entry : scan.modules)
      if (const auto it = options.kept->modules.find(entry.path); it != options.kept->modules.end())
        out.kept_modules.emplace(entry.module, it->second);
  }
  out.flipped = options.flipped;
  out.silent = options.silent;
  out.decided = options.decided;
  out.tried_dtypes = options.tried_dtypes;
  return out;
}

/// What the capture says of the world that forward left, which is put back.
void settle_world(Checkpoint& world, const OutsideState& outside, const Recorder& recorder, Capture& capture) {
  const bool running = recorder.mode() == CaptureMode::running;
  capture.overwritten = world.written();
  // By running, what is another at every call shows in the second capture.
  if (!running) capture.outside_suspects = outside.suspects();
  capture.written_state = world.restore();
  const auto add = [&](const std::string& name) {
    if (std::find(capture.written_state.begin(), capture.written_state.end(), name) == capture.written_state.end())
      capture.written_state.push_back(name);
  };
  for (const std::string& name : capture.state_writes) add(name);
  if (const StandIns* const stand_ins = recorder.settings.stand_ins)
    for (PyObject* tensor : stand_ins->own_written()) add(recorder.scan().tensors.at(tensor));
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
  const OutsideChanges::Found found(options.found);
  Checkpoint world(
      scan,
      {.with_values = running, .with_containers = follows_state, .outside = outside, .given = worlds_around(options)});
  if (options.other_random_numbers) world.generators().draw_others();
  capture.root = nb::borrow(root);
  capture.graph.name = "net";
  Recorder recorder(mode, settings_of(options, scan), scan, world, capture);
  std::optional<StateWrites> state;
  if (follows_state) recorder.settings.state = &state.emplace(recorder, options.state);
  const bool is_root_kept = options.kept && options.kept->root;
  if (is_root_kept) recorder.settings.state = nullptr;  // forward itself writes
  std::optional<StandIns> stand_ins;
  if (options.known_calls && running && !is_root_kept && KnownCalls::is_possible())
    recorder.settings.stand_ins =
        &stand_ins.emplace(recorder, *options.known_calls, options.known_outcomes, options.with_values);
  const auto is_in_vain = [&] { return recorder.decisions().request() || (stand_ins && stand_ins->demanded()); };

  const bool is_outlined = options.kept && options.kept->forward.is_valid() && !options.kept->root;
  // A side of a decision that cannot be captured is an assumption, as where forward raises there.
  const auto refuse = [&] {
    const Error refusal = *recorder.decisions().refusal();
    if (!capture.on_meta.is_refused || !options.outcomes || options.outcomes->empty()) throw refusal;
    set_error(refusal);
    throw nb::python_error();
  };

  nb::object forward = is_outlined ? options.kept->forward.attr("__get__")(root) : nb::object(root.attr("forward"));
  capture.forward_code = forward_code_of(root, is_outlined ? options.kept : nullptr);
  {
    Patches patches;
    const DtypeComparisons comparisons;
    std::optional<NumberConversions> conversions;
    if (running) conversions.emplace();
    patch_all(patches, recorder,
              {.gradients_were_enabled = world.gradients_were_enabled(),
               .globals_naming_type = running ? std::vector<PyObject*>() : outside->globals_naming("type"),
               .decompose_attention = options.decompose_attention,
               .with_given_modules = running && !modules_in(given_to(options).ptr()).empty(),
               .excluded_functions = options.functions_to_exclude,
               .kept = options.kept});
    ActiveRecorder active(recorder);
    ModeOnStack on_stack(recorder);
    recorder.settings.on_traced_module(root.ptr());
    use_module(recorder, "", root.ptr());  // the root scope: its mode flag decides about dropout
    try {
      record_forward(root, options, recorder, forward);
      require_own_classes(root, scan, *outside, options.kept && options.kept->root);
    } catch (nb::python_error& error) {
      // What a request or an error of ours became on its way through Python.
      if (!is_in_vain()) {
        if (capture.on_meta.is_refused) refuse();
        if (is_error(error, ErrorCode::CaptureError))
          throw Error(ErrorCode::CaptureError, text_of(nb::handle(error.value())));
        throw;
      }
    } catch (const Error&) {
      if (!is_in_vain()) {
        if (capture.on_meta.is_refused) refuse();
        throw;
      }
    }
  }
  // Forward may have caught them.
  if (stand_ins && stand_ins->demanded()) throw *stand_ins->demanded();
  if (recorder.decisions().request()) throw *recorder.decisions().request();
  if (recorder.decisions().refusal()) refuse();
  recorder.settings.on_traced_module = nullptr;  // it holds the patches, which are gone
  for (const std::string& region : capture.without_modes) capture.sites.erase(region);
  settle_world(world, *outside, recorder, capture);
  recorder.finish();
  // The user's own names that begin like ours may not be given to new modules.
  for (const std::string& path : scan.taken)
    if (!capture.graph.modules.is_taken(path)) capture.graph.modules.add_taken(path);
}

/// Once more with values, where some were asked for.
static void record_with_stand_ins(nb::handle root, const CaptureOptions& options, Capture& capture) {
  try {
    return record_model(root, options, capture);
  } catch (const ValuesDemanded& demanded) {
    ++options.known_calls->demanded[demanded.reason];
    if (is_logged(LogCategory::explore))
      log(LogCategory::explore, {"the capture runs with values", demanded.reason, "", options.cause.round});
  }
  CaptureOptions again = options;
  again.with_values = true;
  capture = Capture();
  record_model(root, again, capture);
}

void capture_model(nb::handle root, const CaptureOptions& options, Capture& capture) {
  Stopwatch watch;
  const auto note = [&](const std::string& error) {
    if (options.journal) options.journal->captured(options.cause, capture.graph, error, watch.lap());
  };
  try {
    record_with_stand_ins(root, options, capture);
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
