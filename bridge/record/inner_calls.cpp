#include "bridge/record/inner_calls.h"

#include "bridge/record/recorder.h"
#include "bridge/values/structure.h"
#include "bridge/values/traced_number.h"

namespace modulize {

namespace {

// Each is one more capture of the module.
constexpr std::size_t kMaxExamples = 4;

/// What a graph may have been specialised on: the structure, and the rank and dtype of every tensor.
bool is_alike(const InnerCall& a, const InnerCall& b) {
  const nb::object x = nb::make_tuple(a.args, a.kwargs), y = nb::make_tuple(b.args, b.kwargs);
  if (!structure_difference(y, structure_of(x), "").empty()) return false;
  const auto kinds = [](const nb::object& value) {
    std::vector<std::pair<nb::object, int>> out;
    for_each_tensor(value.ptr(),
                    [&](nb::handle t) { out.emplace_back(t.attr("dtype"), nb::cast<int>(t.attr("ndim"))); });
    return out;
  };
  const auto ours = kinds(x), theirs = kinds(y);
  for (std::size_t i = 0; i < ours.size() && i < theirs.size(); ++i)
    if (!ours[i].first.is(theirs[i].first) || ours[i].second != theirs[i].second) return false;
  return ours.size() == theirs.size();
}

void add(std::vector<InnerCall>& known, const InnerCall& call) {
  if (known.size() >= kMaxExamples) return;
  for (const InnerCall& other : known)
    if (is_alike(other, call)) return;
  known.push_back(call);
}

}  // namespace

void note_inner_call(InnerCalls& calls, const std::string& path, PyObject* const* args, Py_ssize_t nargs,
                     PyObject* kwnames) {
  InnerCall call{nb::steal(PyTuple_New(nargs)), nb::none()};
  if (!call.args.is_valid()) nb::raise_python_error();
  StructureCopy copies([](nb::handle leaf) {
    NumberOrigin origin;
    return traced_origin(leaf.ptr(), &origin) ? nb::steal(plain_number(leaf.ptr())) : copy_leaf(leaf);
  });
  for (Py_ssize_t i = 0; i < nargs; ++i) PyTuple_SET_ITEM(call.args.ptr(), i, copies.copy(args[i]).release().ptr());
  if (kwnames && PyTuple_GET_SIZE(kwnames)) {
    nb::dict kwargs;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i)
      kwargs[nb::handle(PyTuple_GET_ITEM(kwnames, i))] = copies.copy(args[nargs + i]);
    call.kwargs = kwargs;
  }
  add(calls[path], call);
}

void merge_inner_calls(InnerCalls& calls, const InnerCalls& more) {
  for (const auto& [path, examples] : more)
    for (const InnerCall& call : examples) add(calls[path], call);
}

}  // namespace modulize
