#include "bridge/explore/tables.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

/// Functions that every call of forward makes anew are the same if their code and all that they hold are.
bool same_function(nb::handle a, nb::handle b) {
  PyObject *f = a.ptr(), *g = b.ptr();
  if (PyFunction_GET_CODE(f) != PyFunction_GET_CODE(g) || PyFunction_GET_GLOBALS(f) != PyFunction_GET_GLOBALS(g))
    return false;
  const auto same = [](PyObject* x, PyObject* y) {
    if (!x || !y) return x == y;
    if (TorchTypes::instance().is_tensor(x)) return x == y;
    return same_object(x, y);
  };
  if (!same(PyFunction_GET_DEFAULTS(f), PyFunction_GET_DEFAULTS(g))) return false;
  if (!same(PyFunction_GET_KW_DEFAULTS(f), PyFunction_GET_KW_DEFAULTS(g))) return false;
  PyObject *cells = PyFunction_GET_CLOSURE(f), *others = PyFunction_GET_CLOSURE(g);
  if (!cells || !others) return cells == others;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(cells); ++i) {
    PyObject *x = PyCell_GET(PyTuple_GET_ITEM(cells, i)), *y = PyCell_GET(PyTuple_GET_ITEM(others, i));
    if (x == f && y == g) continue;  // it calls itself
    if (!same(x, y)) return false;
  }
  return true;
}

}  // namespace

bool same_object(nb::handle a, nb::handle b) {
  if (a.is(b)) return true;
  if (!Py_IS_TYPE(b.ptr(), Py_TYPE(a.ptr()))) return false;
  if (PyFunction_Check(a.ptr())) return same_function(a, b);
  const int equal = PyObject_RichCompareBool(a.ptr(), b.ptr(), Py_EQ);
  if (equal < 0) PyErr_Clear();  // objects that cannot be compared are equal only by identity
  return equal == 1;
}

void share_tables(const Capture& from, Capture& to) {
  to.objects = from.objects;
  to.constants = from.constants;
}

void adopt_objects(Capture& base, Capture& other) {
  std::vector<Value> objects;
  for (std::size_t i = 0; i < other.objects.size(); ++i) {
    nb::handle known = other.objects[static_cast<ObjectId>(i)];
    for (std::size_t k = 0; k < base.objects.size(); ++k)
      if (same_object(base.objects[static_cast<ObjectId>(k)], known)) {
        known = base.objects[static_cast<ObjectId>(k)];
        break;
      }
    objects.push_back(base.objects.value(known));
  }
  const std::function<Value(const Value&)> renumbered = [&](const Value& value) {
    return value.is(ValueKind::object) ? objects[value.as_object().id] : value.map_items(renumbered);
  };
  for (const NodeId id : other.graph.order()) {
    Node& node = other.graph[id];
    if (!node.callee.is_none()) node.callee = renumbered(node.callee);
    for (Value& value : node.args) value = renumbered(value);
    for (auto& [key, value] : node.kwargs) value = renumbered(value);
  }
}

void adopt(Capture& base, Capture& other) {
  adopt_objects(base, other);
  std::map<std::string, std::string> names;  // constants: name in `other` -> name in `base`
  for (const auto& [name, tensor] : other.constants) {
    std::string known;
    for (const auto& [base_name, base_tensor] : base.constants)
      if (base_tensor.is(tensor)) known = base_name;
    if (known.empty()) {
      known = "_tensor_constant" + std::to_string(base.constants.size());
      base.constants.emplace(known, tensor);
    }
    names.emplace(name, known);
  }
  std::vector<TensorSpec> renamed;
  for (const auto& [name, known] : names) {
    renamed.push_back(*other.graph.modules.find_tensor(name));
    renamed.back().path = known;
  }
  for (TensorSpec& spec : renamed)
    if (!other.graph.modules.find_tensor(spec.path)) other.graph.modules.add_tensor(std::move(spec));
  for (const NodeId id : other.graph.order()) {
    Node& node = other.graph[id];
    if (node.op == Opcode::get_attr)
      if (const auto it = names.find(node.target); it != names.end()) node.target = it->second;
  }
  share_tables(base, other);
}

}  // namespace modulize
