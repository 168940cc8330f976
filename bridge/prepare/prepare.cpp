#include "bridge/prepare/prepare.h"

#include <nanobind/stl/shared_ptr.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <set>

#include "bridge/explore/explore.h"
#include "bridge/explore/tables.h"
#include "bridge/materialise/materialise.h"
#include "bridge/materialise/own_objects.h"
#include "bridge/materialise/tree_queries.h"
#include "bridge/python/errors.h"
#include "bridge/python/gc_pause.h"
#include "bridge/python/log.h"
#include "bridge/values/parts.h"
#include "report/leftovers.h"

namespace modulize {

namespace {

std::string joined(const std::string& path, const std::string& rest) {
  return path.empty() || rest.empty() ? path + rest : path + "." + rest;
}

class Preparation {
 public:
  Preparation(const CaptureOptions& options, const PipelineOptions& pipeline, bool verify)
      : options_(options), pipeline_(pipeline), verify_(verify) {
    options_.journal = &journal_;
  }

  nb::object run(nb::handle model) {
    Stopwatch watch;
    nb::dict seconds;
    const bool running = options_.is_running();
    if (stand_in_mode() != StandInMode::on || !is_small(model)) options_.known_calls = &known_calls_;
    {
      // The user's forward, run on values, may rely on the collector to give memory back.
      std::optional<GcPause> pause;
      if (!running) pause.emplace();
      capture_completely(model, options_, verify_, top_);
    }
    seconds["capture"] = watch.lap();
    std::optional<GcPause> pause(std::in_place);
    const auto graph = std::make_shared<Graph>(top_.graph);
    rewrite(*graph, "");
    note(top_, *graph, "");
    seconds["passes"] = watch.lap();
    if (options_.prepares_inner && !top_.inner_calls.empty()) {
      pause.reset();
      add_inner(top_, *graph, "");
      pause.emplace();
      seconds["inner"] = watch.lap();
    }
    nb::object prepared = materialise(top_, graph);
    own_written_objects(prepared, top_);
    for (const auto& [path, capture] : inner_)
      own_written_objects(nb::borrow(find_module(prepared.ptr(), path)), capture);
    seconds["materialise"] = watch.lap();
    journal_.require_written();
    nb::dict report = report_data();
    report["capture"] = running ? "running" : "symbolic";
    seconds["report"] = watch.lap();
    report["seconds"] = seconds;
    report["captured"] = nb::cast(std::move(top_.graph));
    report["shipped"] = nb::cast(graph);
    return nb::make_tuple(prepared, report);
  }

 private:
  /// Is a kernel of the model cheaper than to know that it can be left out?
  bool is_small(nb::handle model) const {
    constexpr std::size_t kSmall = std::size_t{1} << 20;
    std::size_t elements = 0;
    const auto add = [&](nb::handle tensor) { elements += nb::cast<std::size_t>(tensor.attr("numel")()); };
    try {
      for (nb::handle parameter : model.attr("parameters")()) {
        add(parameter);
        if (elements > kSmall) return false;
      }
      for_each_tensor(options_.example_inputs.ptr(), add);
      for_each_tensor(options_.example_kwargs.ptr(), add);
    } catch (nb::python_error& error) {
      if (is_fatal(error)) throw;
      return false;  // a parameter that is lazy: the capture says so
    }
    return elements <= kSmall;
  }

  /// Adds graphs to `outer` for the modules that `capture` has noted calls of. `path`: of its root in the model.
  void add_inner(const Capture& capture, Graph& outer, const std::string& path) {
    for (const auto& [here, calls] : capture.inner_calls) {
      const std::string full = joined(path, here);
      const std::string kept = why_not(outer, here);
      if (!kept.empty()) {
        kept_.push_back({full, "", kept, ""});
        continue;
      }
      const nb::object module = nb::borrow(find_module(capture.root.ptr(), here));
      CaptureOptions options = options_;
      options.concrete_args = nb::none();
      options.plain_outputs = nb::none();
      options.keep_root.reset();
      options.unknown_outcomes = std::make_shared<std::unordered_map<std::string, bool>>();
      options.whole = top_.root;
      options.example_inputs = calls.front().args;
      options.example_kwargs = calls.front().kwargs;
      const std::vector<InnerCall> more(calls.begin() + 1, calls.end());
      options.more_calls = &more;
      options.cause.module = full;
      Capture& inner = inner_.emplace_back(full, Capture()).second;
      try {
        capture_completely(module, options, verify_, inner);
      } catch (const Error& error) {
        kept_.push_back({full, "", error.what(), ""});
        inner_.pop_back();
        continue;
      } catch (nb::python_error& error) {
        if (is_fatal(error)) throw;
        kept_.push_back({full, "", "called by itself it raises " + text_of(nb::handle(error.value())), ""});
        inner_.pop_back();
        continue;
      }
      adopt_objects(top_, inner);
      for (const auto& [name, tensor] : inner.constants) top_.constants.emplace(joined(full, name), tensor);
      const auto graph = std::make_shared<Graph>(inner.graph);
      rewrite(*graph, full);
      note(inner, *graph, full);
      add_inner(inner, *graph, full);
      ModuleSpec spec;
      spec.path = here;
      spec.kind = ModuleKind::graph;
      spec.graph = graph;
      if (ModuleSpec* known = outer.modules.find(here))
        *known = std::move(spec);
      else
        outer.modules.add(std::move(spec));
    }
  }

  /// Runs the passes. `path`: of the root of the capture in the model.
  void rewrite(Graph& graph, const std::string& path) {
    std::vector<Conversion> conversions;
    PipelineOptions pipeline = pipeline_;
    if (journal_.watches_passes()) {
      journal_.begin_passes(path, graph);
      pipeline.on_pass = [&](const PassRun& run, const Graph& made) { journal_.passed(path, run, made); };
    }
    run_pipeline(graph, pipeline, &conversions);
    for (Conversion& c : conversions) {
      if (!path.empty()) {
        c.path = joined(path, c.path);
        c.scope = joined(path, c.scope);
      }
      conversions_.push_back(std::move(c));
    }
  }

  /// Why the module at `path` cannot have a graph of its own in `outer`; empty if it can.
  static std::string why_not(const Graph& outer, const std::string& path) {
    for (const ModuleSpec& spec : outer.modules.modules()) {
      if (spec.kind == ModuleKind::graph && path.starts_with(spec.path + "."))
        return "called by code that is kept whole, and by module '" + spec.path + "', which is prepared";
      if (spec.kind == ModuleKind::copy && spec.copy_of == path)
        return "kept whole and called several times: nothing inside is a module of its own";
      // A module that is kept whole itself is only called, and stands there alone.
      if ((spec.path == path && !is_called(outer, path)) || spec.path.starts_with(path + "."))
        return "called by code that is kept whole, and by code that is prepared";
    }
    return "";
  }

  static bool is_called(const Graph& graph, const std::string& path) {
    for (const NodeId id : graph.order())
      if (graph[id].op == Opcode::call_module && graph[id].target == path) return true;
    for (const ModuleSpec& spec : graph.modules.modules())
      if (spec.kind == ModuleKind::branch && (is_called(*spec.graph, path) || is_called(*spec.graph_else, path)))
        return true;
    return false;
  }

  /// What the report says of one capture, whose root stands at `path`.
  void note(const Capture& capture, const Graph& shipped, const std::string& path) {
    for (Leftover& leftover : find_leftovers(shipped)) {
      leftover.scope = joined(path, leftover.scope);
      leftovers_.push_back(std::move(leftover));
    }
    for (Kept kept : capture.kept) {
      kept.scope = joined(path, kept.scope);
      if (kept.what.empty()) {  // the capture's root, which whoever calls it may have kept already
        const auto same = [&](const Kept& known) { return known.what == path; };
        if (!path.empty() && std::any_of(kept_.begin(), kept_.end(), same)) continue;
        kept.what = path;
      }
      kept_.push_back(std::move(kept));
    }
    for (std::string& text : find_assumptions(shipped)) {
      if (is_logged(LogCategory::guards)) log(LogCategory::guards, {.what = text, .reason = "checked"});
      assumptions_.push_back(path.empty() ? std::move(text) : text + " (of module '" + path + "')");
    }
    without_values_.insert(without_values_.end(), capture.on_meta.values.begin(), capture.on_meta.values.end());
    as_on_cpu_.insert(as_on_cpu_.end(), capture.on_meta.as_on_cpu.begin(), capture.on_meta.as_on_cpu.end());
    for (const AmbientQuestion& question : capture.ambient_questions) questions_.insert(question.question);
    for (const ModuleSpec& spec : shipped.modules.modules())
      if (spec.kind == ModuleKind::copy)
        (spec.untied ? copies_ : ties_).emplace_back(joined(path, spec.path), joined(path, spec.copy_of));
    for (const std::string& name : capture.written_state) written_state_.push_back(joined(path, name));
  }

  nb::dict report_data() {
    nb::dict report;
    report["target"] = pipeline_.target;
    report["conversions"] = nb::cast(Conversions{std::move(conversions_)});
    nb::list leftovers, kept, ties, copies;
    for (const Leftover& l : leftovers_) {
      nb::dict entry;
      entry["call"] = l.call;
      entry["known"] = l.computes;
      entry["computes"] = l.computes || l.yields_tensor;
      entry["scope"] = l.scope;
      entry["where"] = l.where;
      leftovers.append(entry);
    }
    for (const Kept& k : kept_) {
      nb::dict entry;
      entry["what"] = k.what;
      entry["scope"] = k.scope;
      entry["reason"] = k.reason;
      entry["where"] = k.where;
      kept.append(entry);
    }
    for (const auto& [copy, original] : ties_) ties.append(nb::make_tuple(copy, original));
    for (const auto& [copy, original] : copies_) copies.append(nb::make_tuple(copy, original));
    report["leftovers"] = leftovers;
    report["kept"] = kept;
    report["captures"] = journal_.as_list();
    nb::dict kernels, with_values;
    for (const auto& [reason, times] : known_calls_.demanded) with_values[reason.c_str()] = times;
    kernels["run"] = known_calls_.run;
    kernels["left_out"] = known_calls_.left_out;
    kernels["with_values"] = with_values;
    report["kernels"] = kernels;
    report["ties"] = ties;
    report["copies"] = copies;
    report["assumptions"] = list_of(assumptions_);
    report["questions"] = list_of(questions_);
    report["written_state"] = list_of(written_state_);
    report["without_values"] = list_of(without_values_);
    report["as_on_cpu"] = list_of(as_on_cpu_);
    return report;
  }

  template <class Texts>
  static nb::list list_of(const Texts& texts) {
    nb::list out;
    for (const std::string& text : texts) out.append(text);
    return out;
  }

  CaptureOptions options_;
  const PipelineOptions& pipeline_;
  const bool verify_;
  Journal journal_;
  KnownCalls known_calls_;
  Capture top_;
  std::deque<std::pair<std::string, Capture>> inner_;  // path of the root -> capture
  std::vector<Conversion> conversions_;
  std::vector<Leftover> leftovers_;
  std::vector<Kept> kept_;
  std::vector<std::string> assumptions_, written_state_, without_values_, as_on_cpu_;
  std::set<std::string> questions_;
  std::vector<std::pair<std::string, std::string>> ties_, copies_;
};

}  // namespace

nb::list Conversions::as_list() const {
  nb::list out;
  for (const Conversion& c : entries) {
    nb::dict entry;
    entry["pass"] = c.pass;
    entry["from"] = c.from;
    entry["to"] = c.to;
    entry["path"] = c.path;
    entry["scope"] = c.scope;
    entry["where"] = c.where;
    out.append(entry);
  }
  return out;
}

nb::object prepare(nb::handle model, const CaptureOptions& options, const PipelineOptions& pipeline, bool verify) {
  return Preparation(options, pipeline, verify).run(model);
}

}  // namespace modulize
