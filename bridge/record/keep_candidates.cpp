#include "bridge/record/keep_candidates.h"

#include "bridge/python/errors.h"
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

}  // namespace

Forwards::Forwards(const Capture& capture) {
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

nb::object forward_code_of(nb::handle root, const KeptWhole* kept) {
  PyObject* function = kept && kept->forward.is_valid() ? kept->forward.ptr() : innermost(root.attr("forward"));
  return function ? nb::borrow(PyFunction_GetCode(function)) : nb::none();
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
  if (is_call_of(at, "operator.getitem")) add_candidates(capture, graph, first_user(graph, node), out);
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

}  // namespace modulize
