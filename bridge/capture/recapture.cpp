// The second capture of a running one: other values, one row more.
#include <algorithm>

#include "bridge/capture/capture.h"
#include "bridge/capture/explore.h"
#include "bridge/capture/recorder.h"
#include "explore/compare.h"
#include "passes/pass.h"
#include "support/error.h"

namespace modulize {

namespace {

/// The number of rows that the tensors of `value` have in common; -1 if there is none, -2 if they differ.
std::int64_t common_rows(nb::handle value) {
  const TorchTypes& torch = TorchTypes::instance();
  if (torch.is_tensor(value.ptr())) {
    if (nb::cast<int>(value.attr("dim")()) == 0) return -1;
    return nb::cast<std::int64_t>(value.attr("size")(0));
  }
  std::int64_t rows = -1;
  const auto meet = [&](nb::handle item) {
    const std::int64_t n = common_rows(item);
    if (n == -1) return;
    rows = rows == -1 || rows == n ? n : -2;
  };
  if (PyDict_Check(value.ptr()))
    for (auto [key, item] : nb::borrow<nb::dict>(value)) meet(item);
  else if (PyTuple_Check(value.ptr()) || PyList_Check(value.ptr()))
    for (nb::handle item : value) meet(item);
  return rows;
}

/// A copy of the inputs with the values of every tensor in another order (so that integers stay within what was seen) and,
/// with `more_rows`, one row more.
nb::object vary(nb::handle value, bool more_rows) {
  const TorchTypes& torch = TorchTypes::instance();
  PyObject* o = value.ptr();
  if (torch.is_tensor(o)) {
    nb::object t = value.attr("detach")();
    const std::int64_t count = nb::cast<std::int64_t>(t.attr("numel")());
    if (more_rows && nb::cast<int>(t.attr("dim")()) > 0 && count > 0) {
      nb::object first = t.attr("narrow")(0, 0, 1);
      t = nb::module_::import_("torch").attr("cat")(nb::make_tuple(t, first));
    }
    // Turned by one element: cheap, and no value stays where it was.
    return t.attr("flatten")().attr("roll")(1).attr("view")(t.attr("shape"));
  }
  if (PyList_CheckExact(o)) {
    nb::list out;
    for (nb::handle item : value) out.append(vary(item, more_rows));
    return nb::object(out);
  }
  if (PyTuple_Check(o)) {
    nb::list items;
    for (nb::handle item : value) items.append(vary(item, more_rows));
    nb::object type = nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(o)));
    return nb::hasattr(type, "_make") ? nb::object(type.attr("_make")(items)) : type(items);
  }
  if (PyDict_Check(o)) {
    nb::object out = nb::steal(PyObject_CallNoArgs(reinterpret_cast<PyObject*>(Py_TYPE(o))));
    if (!out.is_valid()) nb::raise_python_error();
    for (auto [key, item] : nb::borrow<nb::dict>(value)) out[key] = vary(item, more_rows);
    return out;
  }
  return nb::borrow(value);
}

/// False if the model refuses these inputs, which says nothing about the first capture.
bool capture_again(nb::handle root, CaptureOptions options, bool more_rows, Capture& second) {
  options.other_random_numbers = true;
  if (!options.example_inputs.is_none()) options.example_inputs = vary(options.example_inputs, more_rows);
  if (!options.example_kwargs.is_none()) options.example_kwargs = vary(options.example_kwargs, more_rows);
  try {
    capture_model(root, options, second);
    return true;
  } catch (const Error&) {
    return false;
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_Exception)) throw;  // an interrupt is the user's
    return false;
  }
}

}  // namespace

void recapture(nb::handle root, const CaptureOptions& options, const Capture& first, const Prediction& predict) {
  const std::int64_t rows = common_rows(nb::make_tuple(options.example_inputs, options.example_kwargs));
  auto second = std::make_unique<Capture>();
  bool done = rows > 0 && capture_again(root, options, true, *second);
  if (!done) {
    second = std::make_unique<Capture>();
    done = capture_again(root, options, false, *second);
  }
  if (!done) return;
  const auto refuse = [&](const std::string& what, const Graph& graph, NodeId node, NodeId other) {
    // What differs may stand in either: a loop that runs once more shows in the second alone.
    std::vector<KeepCandidate> candidates;
    add_candidates(*second, second->graph, other, candidates);
    add_candidates(first, graph, node, candidates);
    if (node != kNoNode) add_candidates(first, graph, graph[node].prev, candidates);
    std::stable_partition(candidates.begin(), candidates.end(), [](const KeepCandidate& c) { return c.code.is_valid(); });
    const std::string where = node == kNoNode ? std::string() : graph.where(graph[node]);
    throw KeepRequest("a value or size of the example would be frozen into the prepared model" +
                          (where.empty() ? "" : " at " + where) + ": in a second capture with other inputs, " + what +
                          "; exclude the function or module that does it, or give verify=False if it is always so",
                      "in a second capture with other inputs, " + what, std::move(candidates));
  };
  const Graph expected = predict(*second);
  if (const auto difference = compare_captures(expected, first, second->graph, *second, Checks::end))
    refuse(difference->what, expected, difference->node, difference->other);
  for (const auto& [name, tensor] : first.constants) {
    const auto it = second->constants.find(name);
    if (it == second->constants.end() || it->second.is(tensor)) continue;
    NodeId node = kNoNode;
    for (const NodeId id : first.graph.order())
      if (first.graph[id].op == Opcode::get_attr && first.graph[id].target == name) node = id;
    refuse("a tensor that forward made in a way that is not recorded (torch.Tensor(...), from_numpy) was another one",
           first.graph, node, kNoNode);
  }
}

FlippedModes::FlippedModes(nb::handle root) {
  for (nb::handle module : root.attr("modules")())
    if (module.is(root) || !is_library_leaf(Py_TYPE(module.ptr())))
      if (PyObject** slot = _PyObject_GetDictPtr(module.ptr()); slot && *slot)
        if (PyObject* flag = PyDict_GetItemString(*slot, "training")) flags_.emplace_back(nb::borrow(module), flag == Py_True);
  set(true);
}

FlippedModes::~FlippedModes() { set(false); }

void FlippedModes::set(bool flipped) {
  for (auto& [module, was] : flags_)
    PyDict_SetItemString(*_PyObject_GetDictPtr(module.ptr()), "training", was != flipped ? Py_True : Py_False);
}

}  // namespace modulize
