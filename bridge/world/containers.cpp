#include "bridge/world/containers.h"

#include <algorithm>

#include "bridge/python/errors.h"

namespace modulize {

namespace {

constexpr std::size_t kMaxContainers = 20000;
constexpr int kMaxDepth = 8;

}  // namespace

void ObjectState::add(PyObject* value, const std::string& name) {
  struct Next {
    PyObject* object;
    int depth;
  };
  std::vector<Next> stack{{value, 0}};
  while (!stack.empty()) {
    const Next next = stack.back();
    stack.pop_back();
    if (!has_parts(next.object) || next.depth > kMaxDepth || entries_.size() >= kMaxContainers) continue;
    const auto [it, fresh] = entries_.emplace(next.object, Entry{nb::borrow(next.object), {}, name});
    if (!fresh) continue;
    it->second.parts = parts_of(next.object);
    for (const Part& part : it->second.parts) stack.push_back({part.value.ptr(), next.depth + 1});
  }
}

void ObjectState::add_attributes_of(const ModuleScan& scan) {
  for (const ModuleScan::Entry& entry : scan.modules)
    if (PyObject* dict = attribute_dict(entry.module); dict && !is_library_leaf(Py_TYPE(entry.module))) {
      PyObject *key, *value;
      for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);)
        if (PyUnicode_Check(key) && !is_bookkeeping(key) && has_parts(value))
          add(value, full_name(entry.path, text_of(nb::handle(key))));
    }
}

const std::vector<Part>* ObjectState::parts(PyObject* container) const {
  const auto it = entries_.find(container);
  return it == entries_.end() ? nullptr : &it->second.parts;
}

bool ObjectState::is_changed(PyObject* container) const {
  std::unordered_map<PyObject*, bool> seen;
  return is_changed(container, seen);
}

bool ObjectState::is_changed(PyObject* container, std::unordered_map<PyObject*, bool>& seen) const {
  const auto it = entries_.find(container);
  if (it == entries_.end() || !seen.emplace(container, true).second) return false;
  if (!same_parts(it->second.parts, parts_of(container))) return true;
  return std::any_of(it->second.parts.begin(), it->second.parts.end(),
                     [&](const Part& part) { return is_changed(part.value.ptr(), seen); });
}

std::vector<std::string> ObjectState::restore() {
  std::vector<std::string> changed;
  for (auto& [object, entry] : entries_) {
    if (PyTuple_Check(object) || same_parts(entry.parts, parts_of(object))) continue;
    if (std::find(changed.begin(), changed.end(), entry.name) == changed.end()) changed.push_back(entry.name);
    set_parts(object, entry.parts);
  }
  return changed;
}

}  // namespace modulize
