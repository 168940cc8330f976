#include "bridge/record/places.h"

#include <frameobject.h>

#include <algorithm>
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/entry.h"
#include "bridge/values/torch_types.h"

namespace modulize {

int CodeSite::line() const {
#if PY_VERSION_HEX >= 0x030B0000
  return PyCode_Addr2Line(code, lasti);
#else
  return lasti;
#endif
}

std::string CodeSite::text() const {
  const char* file = PyUnicode_AsUTF8(code->co_filename);
  if (!file) {
    PyErr_Clear();
    return "";
  }
  return std::string(file) + ":" + std::to_string(line());
}

Places::~Places() {
  for (const CodeSite& site : sites_) Py_DECREF(site.code);
}

bool Places::is_of_user(PyCodeObject* code) {
  const auto [it, fresh] = user_code_.try_emplace(code, true);
  if (fresh) it->second = is_user_code(code);
  return it->second;
}

namespace {
thread_local PyObject* entry_code = nullptr;  // of the innermost marker, which holds it
}  // namespace

EntryMarker::EntryMarker() : previous_(entry_code) {
  if (PyFrameObject* const frame = PyEval_GetFrame())
    code_ = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  entry_code = code_.ptr();
}

EntryMarker::~EntryMarker() { entry_code = previous_; }

bool EntryMarker::is_entry(PyCodeObject* code) { return entry_code && reinterpret_cast<PyObject*>(code) == entry_code; }

SourceId Places::current() {
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return kNoSource;
  Py_INCREF(frame);
  while (frame) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    if (EntryMarker::is_entry(
            code)) {  // what is recorded outside of forward has no line: the caller's is none of the model
      Py_DECREF(code);
      Py_DECREF(frame);
      return kNoSource;
    }
    if (is_of_user(code)) {
#if PY_VERSION_HEX >= 0x030B0000
      const int lasti = PyFrame_GetLasti(frame);
#else
      const int lasti = PyFrame_GetLineNumber(frame);
#endif
      const auto [it, fresh] = site_index_.try_emplace(CodeSite{code, lasti}, static_cast<SourceId>(sites_.size() + 1));
      if (fresh) {
        sites_.push_back(CodeSite{code, lasti});
        if (follows_codes_) capture_.codes.try_emplace(where(it->second), running_codes());
      } else {
        Py_DECREF(code);
      }
      Py_DECREF(frame);
      return it->second;
    }
    Py_DECREF(code);
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  return kNoSource;
}

std::optional<std::pair<nb::object, int>> Places::current_site() {
  const SourceId source = current();
  if (source == kNoSource) return std::nullopt;
  return std::pair(nb::borrow(reinterpret_cast<PyObject*>(site(source).code)), site(source).lasti);
}

// The instruction that the caller stood on tells them apart.
void Places::spell_operators() {
  struct Arrival {
    std::string_view method, symbol, function;
    bool reflected = false;
  };
  static constexpr Arrival kArrivals[] = {
      {"add", "+", "add"},
      {"add_", "+", "iadd"},
      {"__radd__", "+", "add", true},
      {"sub", "-", "sub"},
      {"sub_", "-", "isub"},
      {"__rsub__", "-", "sub", true},
      {"mul", "*", "mul"},
      {"mul_", "*", "imul"},
      {"__rmul__", "*", "mul", true},
      {"div", "/", "truediv"},
      {"div_", "/", "itruediv"},
      {"__rdiv__", "/", "truediv", true},
      {"__rtruediv__", "/", "truediv", true},
      {"floor_divide", "//", "floordiv"},
      {"floor_divide_", "//", "ifloordiv"},
      {"__floordiv__", "//", "floordiv"},
      {"__rfloordiv__", "//", "floordiv", true},
      {"remainder", "%", "mod"},
      {"remainder_", "%", "imod"},
      {"__rmod__", "%", "mod", true},
      {"pow", "**", "pow"},
      {"pow_", "**", "ipow"},
      {"__ipow__", "**", "ipow"},
      {"__rpow__", "**", "pow", true},
      {"matmul", "@", "matmul"},
      {"__rmatmul__", "@", "matmul", true},
  };
  nb::object operator_at = nb::module_::import_("modulize._engine").attr("operator_at");
  Graph& g = capture_.graph;
  for (const NodeId id : g.order()) {
    Node& node = g[id];
    if (node.op != Opcode::call_method || node.source == kNoSource || node.args.size() != 2 || !node.kwargs.empty())
      continue;
    const auto arrival = std::find_if(std::begin(kArrivals), std::end(kArrivals),
                                      [&](const Arrival& a) { return a.method == node.target; });
    if (arrival == std::end(kArrivals)) continue;
    const CodeSite& at = site(node.source);
    nb::object symbol = operator_at(nb::handle(reinterpret_cast<PyObject*>(at.code)), at.lasti);
    if (nb::cast<std::string>(symbol) != arrival->symbol) continue;
    node.op = Opcode::call_function;
    node.target = "operator." + std::string(arrival->function);
    if (arrival->reflected) std::swap(node.args[0], node.args[1]);
  }
}

void Places::give_sources() {
  if (has_sources_) return;
  has_sources_ = true;
  Graph& g = capture_.graph;
  std::vector<SourceId> final(sites_.size() + 1, kNoSource);
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    const char* file = PyUnicode_AsUTF8(sites_[i].code->co_filename);
    if (!file) {
      PyErr_Clear();
      continue;
    }
    final[i + 1] = g.add_source(file, sites_[i].line());
  }
  for (const NodeId id : g.order()) g[id].source = final[g[id].source];
}

std::string Places::at_here() {
  const std::string line = here();
  return line.empty() ? "" : " at " + line;
}

std::string Places::where(SourceId source) const { return source == kNoSource ? "" : site(source).text(); }

std::string Places::in_words() {
  const std::string& path = scope_path();
  return at_here() + (path.empty() ? " (in the root module)" : " (in module '" + path + "')");
}

ScopeId Places::enter_scope(const std::string& path) {
  const ScopeId outer = scope_;
  scope_ = capture_.graph.add_scope({path, scope_calls_[path]++, outer});
  return outer;
}

std::vector<RunningCode> Places::running_codes() {
  std::vector<RunningCode> out;
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  while (frame) {
    const nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
    const bool is_end = EntryMarker::is_entry(reinterpret_cast<PyCodeObject*>(code.ptr()));
    if (!is_end && is_of_user(reinterpret_cast<PyCodeObject*>(code.ptr())))
      out.push_back({code, PyFrame_GetLineNumber(frame)});
    PyFrameObject* back = is_end ? nullptr : PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  return out;
}

}  // namespace modulize
