#include "bridge/explore/keep.h"

#include <algorithm>
#include <iterator>
#include <unordered_set>

#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "bridge/record/keep_candidates.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

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
  const nb::module_ statements = nb::module_::import_("modulize._engine");
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

/// Layers that are alike are so in what keeps them.
constexpr std::size_t kAlike = 3;

std::string without_numbers(const std::string& text) {
  std::string out;
  std::copy_if(text.begin(), text.end(), std::back_inserter(out), [](char c) { return c < '0' || c > '9'; });
  return out;
}

/// Keeps the module, and all of its class where several were kept for this reason. False if it is kept already.
bool keep_module(nb::handle root, const std::string& path, const std::string& why, KeptWhole& kept, KeepTried& tried) {
  if (!kept.modules.emplace(path, why).second) return false;
  const ModuleScan scan = scan_modules(root);
  const auto type_of = [&](const std::string& at) -> PyTypeObject* {
    for (const ModuleScan::Entry& entry : scan.modules)
      if (entry.path == at) return Py_TYPE(entry.module);
    return nullptr;
  };
  PyTypeObject* const type = type_of(path);
  if (!type || ++tried.modules[{type, without_numbers(why)}] < kAlike) return true;
  for (const ModuleScan::Entry& entry : scan.modules)
    if (Py_TYPE(entry.module) == type && !entry.path.empty()) kept.modules.emplace(entry.path, why);
  return true;
}

}  // namespace

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
      if (keep_module(root, candidate.module, request.why, kept, tried))
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
