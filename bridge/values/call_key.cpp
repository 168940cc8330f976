#include "bridge/values/call_key.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bridge/values/module_scan.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

constexpr int kMaxDepth = 6;

PyObject* interned(const char* text) { return PyUnicode_InternFromString(text); }

/// New reference; null, and no Python error, where it cannot be had.
nb::object read(PyObject* object, PyObject* name) {
  nb::object out = nb::steal(PyObject_GetAttr(object, name));
  if (!out.is_valid()) PyErr_Clear();
  return out;
}

nb::object ask(PyObject* object, PyObject* method) {
  nb::object out = nb::steal(PyObject_CallMethodNoArgs(object, method));
  if (!out.is_valid()) PyErr_Clear();
  return out;
}

std::size_t hash_of(PyObject* object) {
  const Py_hash_t hash = PyObject_Hash(object);
  if (hash == -1) PyErr_Clear();
  return static_cast<std::size_t>(hash);
}

/// Attention, whose projection is a layer of its own.
bool takes_layers(PyTypeObject* type) {
  static PyObject* const attention =
      nb::object(nb::module_::import_("torch.nn").attr("MultiheadAttention")).release().ptr();
  return reinterpret_cast<PyObject*>(type) == attention;
}

}  // namespace

NumberKind kind_of_dtype(PyObject* dtype) {
  static std::unordered_map<PyObject*, NumberKind> known;  // dtypes are immortal
  const auto [it, fresh] = known.try_emplace(dtype, NumberKind::other);
  if (!fresh) return it->second;
  const std::string text = text_of(nb::handle(dtype));
  const auto starts = [&](const char* name) { return text.starts_with(std::string("torch.") + name); };
  if (starts("bool"))
    it->second = NumberKind::boolean;
  else if (starts("int") || starts("uint"))
    it->second = NumberKind::integer;
  else if (starts("float") || starts("bfloat16") || starts("complex"))
    it->second = NumberKind::floating;
  return it->second;
}

const void* storage_of(PyObject* tensor) {
  static PyObject* const untyped_storage = interned("untyped_storage");
  static PyObject* const cdata = interned("_cdata");
  const nb::object storage = ask(tensor, untyped_storage);
  if (!storage.is_valid()) return nullptr;
  const nb::object address = read(storage.ptr(), cdata);
  if (!address.is_valid() || !PyLong_Check(address.ptr())) return nullptr;
  void* const out = PyLong_AsVoidPtr(address.ptr());
  if (!out) PyErr_Clear();
  return out;
}

TensorFacts facts_of(PyObject* tensor) {
  const TorchTypes& torch = TorchTypes::instance();
  TensorFacts out;
  const auto add = [&](char kind, auto value) {
    out.bytes += kind;
    out.bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  if (Py_TYPE(tensor) != torch.tensor && Py_TYPE(tensor) != torch.parameter) return out;
  static PyObject* const names[] = {interned("dtype"), interned("device"), interned("layout"), interned("shape"),
                                    interned("requires_grad")};
  static PyObject* const stride_name = interned("stride");
  static PyObject* const neg = interned("is_neg");
  static PyObject* const conj = interned("is_conj");
  static PyObject* const strided =
      checked(PyObject_GetAttrString(nb::module_::import_("torch").ptr(), "strided")).release().ptr();
  static const std::size_t meta = hash_of(nb::object(nb::module_::import_("torch").attr("device")("meta")).ptr());
  nb::object read_facts[5];
  for (int i = 0; i < 5; ++i) {
    read_facts[i] = read(tensor, names[i]);
    if (!read_facts[i].is_valid()) return out;
  }
  const auto& [dtype, device, layout, shape, requires_grad] = read_facts;
  out.kind = kind_of_dtype(dtype.ptr());
  const std::size_t place = hash_of(device.ptr());
  out.is_meta = place == meta;
  if (layout.ptr() != strided || out.kind == NumberKind::other) return out;
  const nb::object strides = ask(tensor, stride_name);
  const nb::object is_neg = ask(tensor, neg), is_conj = ask(tensor, conj);
  if (!strides.is_valid() || !PyTuple_Check(strides.ptr()) || !PyTuple_Check(shape.ptr()) || is_neg.ptr() != Py_False ||
      is_conj.ptr() != Py_False)
    return out;
  out.storage = storage_of(tensor);
  if (!out.storage) return out;
  add('t', Py_TYPE(tensor));
  add('d', dtype.ptr());
  add('p', place);
  out.bytes += requires_grad.ptr() == Py_True ? 'r' : 'n';
  const Py_ssize_t dims = PyTuple_GET_SIZE(shape.ptr());
  out.has_dimensions = dims > 0;
  out.elements = 1;
  for (Py_ssize_t i = 0; i < dims; ++i) {
    const long long size = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), i));
    add('-', size);
    add('/', PyLong_AsLongLong(PyTuple_GET_ITEM(strides.ptr(), i)));
    out.elements *= static_cast<std::size_t>(size);
  }
  out.bytes += ';';
  out.is_complete = true;
  return out;
}

namespace {

/// The facts without sizes: how many dimensions there are, and in which order they lie in memory.
std::string structure_of(const TensorFacts& facts) {
  // A letter and a number each: class, dtype, device; whether it requires grad; then size and stride of each dimension.
  constexpr std::size_t kNumber = 1 + sizeof(long long), kHead = 3 * kNumber + 1;
  if (!facts.is_complete) return facts.bytes;
  std::string out = facts.bytes.substr(0, kHead);
  std::vector<std::pair<long long, long long>> dims;  // size, stride
  for (std::size_t at = kHead; at + 2 * kNumber <= facts.bytes.size(); at += 2 * kNumber) {
    auto& [size, stride] = dims.emplace_back();
    std::memcpy(&size, &facts.bytes[at + 1], sizeof(size));
    std::memcpy(&stride, &facts.bytes[at + kNumber + 1], sizeof(stride));
  }
  // From the innermost on; where one follows the other without a gap, and where not.
  std::vector<std::size_t> order;
  for (std::size_t d = dims.size(); d-- > 0;)
    if (dims[d].first != 1) order.push_back(d);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return dims[a].second < dims[b].second; });
  long long next = 1;
  out += static_cast<char>('0' + dims.size());
  bool is_plain = true;
  for (std::size_t i = 0; i < order.size(); ++i) {
    is_plain &= dims[order[i]].second == next && (i == 0 || order[i] < order[i - 1]);
    next = dims[order[i]].first * dims[order[i]].second;
  }
  if (is_plain) return out + "c;";
  next = 1;
  for (const std::size_t d : order) {
    out += static_cast<char>('a' + d);
    if (dims[d].second != next) out += '_';
    next = dims[d].first * dims[d].second;
  }
  return out + ";";
}

}  // namespace

void CallKey::add_identity(const void* object) { add_bytes('o', object); }

void CallKey::add_tensor(PyObject* tensor) {
  const auto known = std::find(tensors_.begin(), tensors_.end(), tensor);
  if (known != tensors_.end()) return add_bytes('s', known - tensors_.begin());
  tensors_.push_back(tensor);
  const TensorFacts& facts = source_.facts(tensor);
  complete_ &= facts.is_complete;
  bytes_ += is_structure_ ? structure_of(facts) : facts.bytes;
  elements_ += facts.elements;
  if (!may_be_index_) return;
  has_number_ |= !facts.has_dimensions && facts.kind != NumberKind::floating;
  has_booleans_ |= facts.kind == NumberKind::boolean;
}

void CallKey::add(PyObject* object) {
  const TorchTypes& torch = TorchTypes::instance();
  if (torch.is_tensor(object)) return add_tensor(object);
  if (object == Py_None || object == Py_True || object == Py_False || object == Py_Ellipsis)
    return add_identity(object);
  if (PyLong_Check(object)) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) complete_ = false;
    return add_bytes('i', is_structure_ && !is_in_layer_ ? 0 : value);
  }
  if (PyFloat_Check(object)) return add_bytes('f', PyFloat_AS_DOUBLE(object));
  if (PyUnicode_Check(object)) {
    Py_ssize_t size = 0;
    const char* const text = PyUnicode_AsUTF8AndSize(object, &size);
    if (!text) {
      PyErr_Clear();
      complete_ = false;
      return;
    }
    add_bytes('u', size);
    bytes_.append(text, static_cast<std::size_t>(size));
    return;
  }
  if (Py_TYPE(object) == torch.device) return add_bytes('p', hash_of(object));
  if (Py_TYPE(object) == torch.dtype || Py_TYPE(object) == torch.layout || Py_TYPE(object) == torch.memory_format ||
      PyType_Check(object))
    return add_identity(object);
  if (++depth_ > kMaxDepth) {
    complete_ = false;
  } else if (PyTuple_CheckExact(object) || PyList_CheckExact(object) || Py_TYPE(object) == torch.size) {
    add_bytes('(', Py_TYPE(object));
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i) add(PySequence_Fast_GET_ITEM(object, i));
    bytes_ += ')';
  } else if (PyDict_CheckExact(object)) {
    bytes_ += '{';
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);) {
      add(key);
      add(value);
    }
    bytes_ += '}';
  } else if (PySlice_Check(object)) {
    const auto* slice = reinterpret_cast<PySliceObject*>(object);
    bytes_ += '[';
    for (PyObject* part : {slice->start, slice->stop, slice->step}) add(part);
  } else {
    complete_ = false;
  }
  --depth_;
}

void CallKey::add_arguments(PyObject* arguments) {
  bytes_ += '(';
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(arguments); ++i) {
    may_be_index_ = i > 0;
    add(PyTuple_GET_ITEM(arguments, i));
  }
  may_be_index_ = true;
  bytes_ += ')';
}

void CallKey::add_layers_of(PyObject* module, PyObject* children) {
  if (!PyDict_Check(children)) {
    complete_ = false;
    return;
  }
  // A stack of transformer layers looks at the values of masks, and some layers at those of their children's hooks.
  PyObject *name, *child;
  for (Py_ssize_t at = 0; PyDict_Next(children, &at, &name, &child);) {
    add(name);
    if (child == Py_None) continue;
    if (!takes_layers(Py_TYPE(module)) || !is_library_leaf(Py_TYPE(child)) || has_hooks(child)) {
      complete_ = false;
      return;
    }
    add_layer(child);
  }
}

void CallKey::add_layer(PyObject* module) {
  const bool was_in_layer = std::exchange(is_in_layer_, true);
  add_content_of(module);
  is_in_layer_ = was_in_layer;
}

void CallKey::add_content_of(PyObject* module) {
  add_identity(Py_TYPE(module));
  PyObject* const dict = attribute_dict(module);
  if (!dict) {
    complete_ = false;
    return;
  }
  static PyObject* const modules = interned("_modules");
  static PyObject* const tensors[] = {interned("_parameters"), interned("_buffers")};
  static PyObject* const forward = interned("forward");
  PyObject *key, *value;
  for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);) {
    if (key == forward) complete_ = false;
    if (key == modules) {
      add_layers_of(module, value);
      continue;
    }
    const bool holds_tensors = key == tensors[0] || key == tensors[1];
    if (PyDict_Check(value) && !holds_tensors) continue;  // hooks, of which such a layer has none
    add_identity(key);
    const bool is_plain = PyLong_Check(value) || PyFloat_Check(value) || PyUnicode_Check(value) ||
                          PyTuple_Check(value) || PyList_CheckExact(value) || PySet_Check(value);
    if (holds_tensors) {
      may_be_index_ = false;
      PyObject *name, *tensor;
      for (Py_ssize_t i = 0; PyDict_Next(value, &i, &name, &tensor);) {
        add(name);
        add(tensor);
      }
      may_be_index_ = true;
    } else if (PySet_Check(value)) {
      continue;  // _non_persistent_buffers_set
    } else if (is_plain || TorchTypes::instance().is_tensor(value)) {
      add(value);
    } else {
      add_identity(value);
    }
  }
}

}  // namespace modulize
