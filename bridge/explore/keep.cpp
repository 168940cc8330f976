#include "bridge/explore/keep.h"

#include <algorithm>
#include <unordered_set>

#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "bridge/record/recorder.h"
#include "ir/control.h"

namespace modulize {

namespace {

/// The function behind its decorators; null if it is none of Python's.
PyObject* innermost(nb::handle forward, std::unordered_set<PyObject*>* decorators = nullptr) {
  nb::object function = nb::getattr(forward, "__func__", nb::borrow(forward));
  while (nb::hasattr(function, "__wrapped__")) {
    if (decorators && PyFunction_Check(function.ptr())) decorators->insert(PyFunction_GetCode(function.ptr()));
    function = function.attr("__wrapped__");
  }
  return PyFunction_Check(function.ptr()) ? function.ptr() : nullptr;  // held by the class or the module
}

/// The code of every module's forward; functions around one are no candidates, the module is.
struct Forwards {
  explicit Forwards(const Capture& capture) {
    nb::object modules = capture.root.attr("named_modules")();
    for (nb::handle item : modules) {
      nb::object forward = nb::getattr(item[1], "forward", nb::none());
      PyObject* function = forward.is_none() ? nullptr : innermost(forward, &decorators);
      if (!function) continue;
      codes.insert(PyFunction_GetCode(function));
      by_path.emplace(nb::cast<std::string>(nb::object(item[0])), PyFunction_GetCode(function));
    }
    by_path.insert_or_assign("", capture.forward_code.ptr());
    codes.insert(capture.forward_code.ptr());
  }
  std::unordered_map<std::string, PyObject*> by_path;
  std::unordered_set<PyObject*> codes, decorators;
};

bool keep_function(nb::handle code, const std::string& why, KeptWhole& kept) {
  nb::object functions = nb::module_::import_("gc").attr("get_referrers")(code);
  bool any = false;
  for (nb::handle function : functions)
    if (PyFunction_Check(function.ptr()) && PyFunction_GET_CODE(function.ptr()) == code.ptr()) {
      kept.functions.push_back({nb::borrow(function), why});
      any = true;
    }
  return any;
}

/// Is it the code of something that is kept? What runs is a clone of that.
bool is_kept(nb::handle code, const KeptWhole& kept) {
  return std::any_of(kept.functions.begin(), kept.functions.end(), [&](const KeptFunction& one) {
    const nb::object known = one.function.attr("__code__");
    bool same = true;
    for (const char* name : {"co_filename", "co_firstlineno", "co_name"})
      same &= nb::object(known.attr(name)).equal(nb::object(code.attr(name)));
    return same;
  });
}

/// The smallest statement around the line, with the loops around it, that has not been tried.
bool keep_statement(nb::handle root, int line, const std::string& why, KeptWhole& kept, KeepTried& tried) {
  if (nb::cast<bool>(nb::object(root.attr("__dict__")).attr("__contains__")("forward"))) return false;
  const nb::object forward = nb::getattr(nb::object(root.attr("forward")), "__func__", nb::none());
  const nb::module_ statements = nb::module_::import_("modulize._statements");
  for (nb::handle around : nb::object(statements.attr("enclosing")(forward, line, nb::arg("with_loops") = true))) {
    const std::pair<int, int> lines(nb::cast<int>(nb::object(around[0])), nb::cast<int>(nb::object(around[1])));
    if (!tried.statements.insert(lines).second) continue;
    std::erase_if(kept.statements, [&](const auto& known) {
      return lines.first <= known.first.first && known.first.second <= lines.second;
    });
    kept.statements.emplace(lines, why);
    nb::list places;
    for (const auto& [place, reason] : kept.statements) places.append(nb::make_tuple(place.first, place.second));
    const nb::object made = statements.attr("outlined")(forward, places);
    kept.forward = made[0];
    std::erase_if(kept.functions, [](const KeptFunction& one) { return one.is_statement; });
    auto reason = kept.statements.begin();
    for (nb::handle function : nb::object(made[1]))
      kept.functions.push_back({nb::borrow(function), (reason++)->second, true});
    return true;
  }
  return false;
}

}  // namespace

nb::object forward_code_of(nb::handle root, const KeptWhole* kept) {
  PyObject* function = kept && kept->forward.is_valid() ? kept->forward.ptr() : innermost(root.attr("forward"));
  return function ? nb::borrow(PyFunction_GetCode(function)) : nb::none();
}

bool keep_more(nb::handle root, const KeepRequest& request, KeptWhole& kept, KeepTried& tried) {
  const auto kept_whole = [&](const std::string& what, const std::string& where) {
    if (is_logged(LogCategory::keep))
      log(LogCategory::keep, {what + " is kept whole", request.why, where, tried.rounds});
    ++tried.rounds;
    return true;
  };
  for (const KeepCandidate& candidate : request.candidates) {
    if (candidate.line > 0) {
      if (request.takes_statements && keep_statement(root, candidate.line, request.why, kept, tried))
        return kept_whole("a statement of forward", "line " + std::to_string(candidate.line));
    } else if (!candidate.code.is_valid()) {
      if (kept.modules.emplace(candidate.module, request.why).second)
        return kept_whole("module '" + candidate.module + "'", "");
    } else if (tried.codes.insert(candidate.code.ptr()).second) {
      // Nothing where it did not help, or its functions come and go.
      if (keep_function(candidate.code, request.why, kept))
        return kept_whole(
            "function '" + text_of(candidate.code.attr("co_name")) + "'",
            text_of(candidate.code.attr("co_filename")) + ":" + text_of(candidate.code.attr("co_firstlineno")));
    }
  }
  if (is_logged(LogCategory::keep))
    log(LogCategory::keep, {"nothing smaller than forward helps", request.why, "", tried.rounds});
  return false;
}

std::vector<KeepCandidate> keep_candidates(const Capture& capture, const std::vector<RunningCode>& running,
                                           ScopeId scope, std::size_t inner) {
  const Forwards forwards(capture);
  std::vector<KeepCandidate> out;
  for (const RunningCode& frame : running) {
    const bool is_inner = &frame < running.data() + inner;
    const std::string& path = capture.graph.scope(scope).path;
    const auto forward = forwards.by_path.find(path);
    if (forward != forwards.by_path.end() && forward->second == frame.code.ptr()) {
      if (scope == kRootScope) {
        out.push_back({.line = frame.line});
        break;
      }
      if (!is_inner) out.push_back({.module = path});
      scope = capture.graph.scope(scope).parent;
    } else if (!is_inner && !forwards.decorators.contains(frame.code.ptr()) &&
               !forwards.codes.contains(frame.code.ptr())) {
      out.push_back({.code = frame.code});
    }
  }
  return out;
}

void add_candidates(const Capture& capture, const Graph& graph, NodeId node, std::vector<KeepCandidate>& out) {
  if (node == kNoNode) return;
  const Node& at = graph[node];
  // State is written at the end, for the module that wrote it.
  if (is_call_of(at, "builtins.setattr") && !at.args.empty() && at.args[0].is_node()) {
    const Node& module = graph[at.args[0].as_node()];
    if (module.op == Opcode::get_attr && graph.modules.find(module.target) && module.target != "_modulize_module")
      out.push_back({.module = module.target});
  }
  // Arguments and results are taken apart before anything happens with the parts.
  if (is_call_of(at, "operator.getitem")) add_candidates(capture, graph, graph.first_user(node), out);
  const auto it = capture.codes.find(graph.where(at));
  if (it == capture.codes.end()) return;
  for (KeepCandidate& candidate : keep_candidates(capture, it->second, at.scope)) out.push_back(std::move(candidate));
}

void throw_keep_request(const Capture& capture, NodeId node, const std::string& why) {
  std::vector<KeepCandidate> candidates;
  add_candidates(capture, capture.graph, node, candidates);
  const std::string where = node == kNoNode ? std::string() : capture.graph.where(capture.graph[node]);
  throw KeepRequest(why + (where.empty() ? "" : " at " + where) +
                        ": exclude the function (functions_to_exclude) or the module (modules_to_exclude) that does it",
                    why, std::move(candidates));
}

KeepRequest request_of(const Capture& capture, const KeptWhole& kept, nb::python_error& error) {
  const std::string why = "it cannot be recorded: " + text_of(nb::handle(error.value()));
  const ModuleScan scan = scan_modules(capture.root);
  const Forwards forwards(capture);
  std::vector<KeepCandidate> candidates;  // outermost first
  nb::object trace = error.traceback();
  for (; trace.is_valid() && !trace.is_none(); trace = trace.attr("tb_next")) {
    nb::object frame = trace.attr("tb_frame"), code = frame.attr("f_code");
    if (is_kept(code, kept)) break;
    if (forwards.codes.contains(code.ptr())) {
      const nb::object self = nb::object(frame.attr("f_locals")).attr("get")("self");
      const std::string* path = scan.path_of(self.ptr());
      if (path && !path->empty()) candidates.push_back({.module = *path});
      continue;
    }
    const std::string file = nb::cast<std::string>(nb::object(code.attr("co_filename")));
    if (!file.starts_with(TorchTypes::instance().folder) && !file.starts_with(TorchTypes::instance().our_folder))
      candidates.push_back({.code = code});
  }
  std::reverse(candidates.begin(), candidates.end());
  return KeepRequest(why, why, std::move(candidates));
}

}  // namespace modulize
