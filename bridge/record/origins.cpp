#include "bridge/record/origins.h"

#include <algorithm>

#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

std::uint32_t next_capture = 1;  // guarded by the GIL

/// The name of the attribute by which a tensor is known; interned, immortal.
PyObject* tag_key() {
  static PyObject* const key = PyUnicode_InternFromString("_modulize_node");
  return key;
}

std::uint64_t element_key(NodeId node, std::int32_t index) {
  return (static_cast<std::uint64_t>(node) << 32) | static_cast<std::uint32_t>(index);
}

}  // namespace

Origins::Origins() : capture_(next_capture++) {}

Origins::~Origins() {
  for (const auto& [tensor, name] : constants_) untag(tensor);
}

void Origins::rollback(NodeId first) {
  // What an object stood for before is what it stands for again.
  if (std::erase_if(reads_, [&](const Read& read) { return read.node >= first; }) > 0) {
    last_.clear();
    for (std::size_t i = 0; i < reads_.size(); ++i)
      if (!reads_[i].place.is_lie) last_[reads_[i].object.ptr()] = i;
  }
  sequences_.erase(sequences_.lower_bound(first), sequences_.end());
  while (!element_order_.empty()) {
    const auto it = elements_.find(element_order_.back());
    if (it->second < first) break;
    elements_.erase(it);
    element_order_.pop_back();
  }
  for (std::vector<bool>* marks : {&from_value_, &unknown_})
    if (marks->size() > first) marks->resize(first);
  if (leak_ != kNoNode && leak_ >= first) leaked_ = leak_ = kNoNode;
  if (flag.module && flag.node >= first) flag = {};
}

NodeId Origins::of_tensor(PyObject* tensor) const {
  PyObject** slot = _PyObject_GetDictPtr(tensor);
  if (!slot || !*slot) return kNoNode;
  PyObject* tag = PyDict_GetItem(*slot, tag_key());
  if (!tag) return kNoNode;
  const unsigned long long bits = PyLong_AsUnsignedLongLong(tag);
  return (bits >> 32) == capture_ ? static_cast<NodeId>(bits & 0xffffffffu) : kNoNode;
}

void Origins::tag(PyObject* tensor, NodeId node) {
  const nb::object bits =
      checked(PyLong_FromUnsignedLongLong((static_cast<unsigned long long>(capture_) << 32) | node));
  PyObject** slot = _PyObject_GetDictPtr(tensor);
  int failed;
  if (slot && *slot)
    failed = PyDict_SetItem(*slot, tag_key(), bits.ptr());
  else
    failed = PyObject_GenericSetAttr(tensor, tag_key(), bits.ptr());
  if (failed) nb::raise_python_error();
}

void Origins::untag(PyObject* tensor) {
  PyObject** slot = _PyObject_GetDictPtr(tensor);
  if (slot && *slot && PyDict_Contains(*slot, tag_key()) == 1) PyDict_DelItem(*slot, tag_key());
}

void Origins::note(PyObject* object, NodeId node, Place place) {
  if (!place.is_lie) last_[object] = reads_.size();
  reads_.push_back({nb::borrow(object), node, std::move(place)});
}

std::size_t Origins::last_read(PyObject* object) const {
  const auto it = last_.find(object);
  return it == last_.end() ? reads_.size() : it->second;
}

NodeId Origins::of_object(PyObject* object) const {
  const auto it = last_.find(object);
  return it == last_.end() ? kNoNode : reads_[it->second].node;
}

const Origins::Sequence* Origins::sequence(NodeId node) const {
  const auto it = sequences_.find(node);
  return it == sequences_.end() ? nullptr : &it->second;
}

NodeId Origins::element(NodeId node, std::int32_t index) const {
  const auto it = elements_.find(element_key(node, index));
  return it == elements_.end() ? kNoNode : it->second;
}

void Origins::note_element(NodeId node, std::int32_t index, NodeId made) {
  const std::uint64_t key = element_key(node, index);
  elements_.emplace(key, made);
  element_order_.push_back(key);
}

namespace {

bool is_marked(const std::vector<bool>& marks, const Value& value) {
  return value.is_node() && value.as_node() < marks.size() && marks[value.as_node()];
}

void mark(std::vector<bool>& marks, NodeId node) {
  if (marks.size() <= node) marks.resize(node + 1, false);
  marks[node] = true;
}

}  // namespace

bool Origins::is_from_value(const Value& value) const { return is_marked(from_value_, value); }
void Origins::mark_from_value(NodeId node, bool is_unknown) {
  mark(from_value_, node);
  if (is_unknown) mark(unknown_, node);
}

bool Origins::is_unknown(const Value& value) const { return is_marked(unknown_, value); }

bool has_origin(Recorder& recorder, PyObject* object) {
  NumberOrigin origin;
  if (traced_origin(object, &origin)) return origin.capture == recorder.origins().capture();
  if (is_proxy(object)) return true;
  if (TorchTypes::instance().is_tensor(object) || recorder.given().knows(object)) return true;
  if (PyTuple_Check(object)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i)
      if (has_origin(recorder, PyTuple_GET_ITEM(object, i))) return true;
  } else if (PyList_Check(object)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i)
      if (has_origin(recorder, PyList_GET_ITEM(object, i))) return true;
  } else if (PyDict_Check(object)) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);)
      if (has_origin(recorder, value)) return true;
  } else if (PySlice_Check(object)) {
    auto* slice = reinterpret_cast<PySliceObject*>(object);
    return has_origin(recorder, slice->start) || has_origin(recorder, slice->stop) || has_origin(recorder, slice->step);
  }
  return false;
}

}  // namespace modulize
