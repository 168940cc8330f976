#include "bridge/values/parts.h"

#include "bridge/python/errors.h"
#include "bridge/values/generators.h"
#include "bridge/values/torch_types.h"

namespace modulize {

namespace {

void check(int result) {
  if (result < 0) nb::raise_python_error();
}

struct Types {
  destructor python_class;  // tp_dealloc of the classes that a class statement makes
  PyTypeObject* enum_base;
  PyTypeObject* deque;
  PyTypeObject* default_dict;
  PyTypeObject* proxy;  // torch.fx.Proxy
  PyObject* slot_names;

  static const Types& instance() {
    static const Types types = [] {
      const auto type = [](const char* module, const char* name) {
        return reinterpret_cast<PyTypeObject*>(nb::object(nb::module_::import_(module).attr(name)).release().ptr());
      };
      Types t;
      t.enum_base = type("enum", "Enum");
      t.python_class = t.enum_base->tp_dealloc;
      t.deque = type("collections", "deque");
      t.default_dict = type("collections", "defaultdict");
      t.proxy = type("torch.fx", "Proxy");
      t.slot_names = nb::object(nb::module_::import_("copyreg").attr("_slotnames")).release().ptr();
      return t;
    }();
    return types;
  }
};

/// The nearest class in C: it lays out the memory.
PyTypeObject* layout_of(PyTypeObject* type) {
  while (type->tp_base && type->tp_dealloc == Types::instance().python_class) type = type->tp_base;
  return type;
}

enum class Layout : std::uint8_t { none, object, list, tuple, dict, ordered_dict, default_dict, deque };

Layout layout(PyTypeObject* type) {
  const Types& types = Types::instance();
  PyTypeObject* base = layout_of(type);
  if (base == &PyBaseObject_Type) return type == base ? Layout::none : Layout::object;
  if (base == &PyList_Type) return Layout::list;
  if (PyType_IsSubtype(base, &PyTuple_Type)) return Layout::tuple;  // torch.return_types.* are tuples in C
  if (base == &PyDict_Type) return Layout::dict;
  if (base == &PyODict_Type) return Layout::ordered_dict;
  if (base == types.default_dict) return Layout::default_dict;
  if (base == types.deque) return Layout::deque;
  return Layout::none;
}

void add_attributes(PyObject* object, std::vector<Part>& out) {
  PyTypeObject* type = Py_TYPE(object);
  if (type->tp_dealloc != Types::instance().python_class) return;
  if (PyObject** slot = _PyObject_GetDictPtr(object); slot && *slot) {
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(*slot, &at, &key, &value);)
      if (PyUnicode_Check(key)) out.push_back({true, nb::borrow(key), nb::borrow(value)});
  }
  nb::object names = checked(PyObject_CallOneArg(Types::instance().slot_names, reinterpret_cast<PyObject*>(type)));
  for (nb::handle name : names) {
    PyObject* value = PyObject_GenericGetAttr(object, name.ptr());
    if (value) {
      out.push_back({true, nb::borrow(name), nb::steal(value)});
    } else {
      if (!PyErr_ExceptionMatches(PyExc_AttributeError)) nb::raise_python_error();
      PyErr_Clear();  // an empty slot
    }
  }
}

void set_attribute(PyObject* object, PyObject* name, PyObject* value) {
  check(PyObject_GenericSetAttr(object, name, value));  // past a frozen dataclass's own
}

/// Calls `fn` for the tensors inside until it says true; says so then.
bool find_tensor(PyObject* object, const std::function<bool(PyObject*)>& fn,
                 std::unordered_map<PyObject*, nb::object>& seen, PartCount& count, int depth) {
  const TorchTypes& torch = TorchTypes::instance();
  if (torch.is_tensor(object)) return fn(object);
  if (PyAnySet_Check(object)) {
    for (nb::handle item : nb::handle(object))
      if (torch.is_tensor(item.ptr()) && fn(item.ptr())) return true;
    return false;
  }
  if (!has_parts(object) || depth > kMaxNesting) return false;
  if (!seen.emplace(object, nb::borrow(object)).second) return false;
  count.one();
  for (const Part& part : parts_of(object))
    if (find_tensor(part.value.ptr(), fn, seen, count, depth + 1)) return true;
  return false;
}

void add_modules(PyObject* object, std::vector<nb::object>& out, std::unordered_map<PyObject*, nb::object>& seen,
                 PartCount& count, int depth) {
  const bool is_module = PyObject_TypeCheck(object, TorchTypes::instance().module);
  if ((!is_module && !PyAnySet_Check(object) && !has_parts(object)) || depth > kMaxNesting ||
      !seen.emplace(object, nb::borrow(object)).second)
    return;
  count.one();
  if (is_module) {
    out.push_back(nb::borrow(object));
  } else if (PyAnySet_Check(object)) {
    for (nb::handle item : nb::handle(object)) add_modules(item.ptr(), out, seen, count, depth + 1);
  } else {
    for (const Part& part : parts_of(object)) add_modules(part.value.ptr(), out, seen, count, depth + 1);
  }
}

}  // namespace

void PartCount::one() {
  constexpr std::size_t kMaxParts = 100000;
  if (++parts_ > kMaxParts)
    throw Error(ErrorCode::CaptureError,
                "an object in the inputs or outputs has more than " + std::to_string(kMaxParts) + " parts");
}

bool is_enum_member(PyObject* object) { return PyType_IsSubtype(Py_TYPE(object), Types::instance().enum_base); }

std::string Part::text() const {
  return is_attribute ? "." + text_of(key) : "[" + nb::cast<std::string>(nb::repr(key)) + "]";
}

bool has_parts(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  if (type == &PyList_Type || type == &PyTuple_Type || type == &PyDict_Type) return true;
  if (type == &PyUnicode_Type || type == &PyLong_Type || type == &PyFloat_Type || type == &PyBool_Type ||
      object == Py_None)
    return false;
  const TorchTypes& torch = TorchTypes::instance();
  if (torch.is_tensor(object) || type == torch.size || PyType_Check(object) || PyType_IsSubtype(type, torch.module) ||
      PyType_IsSubtype(type, Types::instance().enum_base) || PyType_IsSubtype(type, Types::instance().proxy))
    return false;
  return layout(type) != Layout::none;
}

std::vector<Part> parts_of(PyObject* object) {
  std::vector<Part> out;
  const Layout kind = layout(Py_TYPE(object));
  add_attributes(object, out);
  const auto sequence = [&](PyObject* iterator) {
    nb::object items = checked(iterator);
    Py_ssize_t index = 0;
    while (PyObject* item = PyIter_Next(items.ptr()))
      out.push_back({false, nb::steal(PyLong_FromSsize_t(index++)), nb::steal(item)});
    if (PyErr_Occurred()) nb::raise_python_error();
  };
  switch (kind) {
    case Layout::list:
      sequence(PyList_Type.tp_iter(object));
      break;
    case Layout::tuple:
      sequence(PyTuple_Type.tp_iter(object));
      break;
    case Layout::deque:
      sequence(Types::instance().deque->tp_iter(object));
      break;
    case Layout::dict:
    case Layout::default_dict: {
      PyObject *key, *value;
      for (Py_ssize_t at = 0; PyDict_Next(object, &at, &key, &value);)
        out.push_back({false, nb::borrow(key), nb::borrow(value)});
      break;
    }
    case Layout::ordered_dict: {
      nb::object keys = checked(PyODict_Type.tp_iter(object));
      while (PyObject* key = PyIter_Next(keys.ptr())) {
        nb::object owned = nb::steal(key);
        PyObject* value = PyDict_GetItemWithError(object, key);
        if (!value) {
          if (PyErr_Occurred()) nb::raise_python_error();
          continue;
        }
        out.push_back({false, std::move(owned), nb::borrow(value)});
      }
      if (PyErr_Occurred()) nb::raise_python_error();
      break;
    }
    case Layout::none:
    case Layout::object:
      break;
  }
  return out;
}

bool holds_tensor(PyObject* object) {
  std::unordered_map<PyObject*, nb::object> seen;
  PartCount count;
  return find_tensor(
      object, [](PyObject*) { return true; }, seen, count, 0);
}

void for_each_tensor(PyObject* object, const std::function<void(nb::handle)>& fn) {
  std::unordered_map<PyObject*, nb::object> seen;
  PartCount count;
  find_tensor(
      object, [&](PyObject* tensor) { return fn(tensor), false; }, seen, count, 0);
}

std::vector<nb::object> modules_in(PyObject* object) {
  std::vector<nb::object> out;
  std::unordered_map<PyObject*, nb::object> seen;
  PartCount count;
  add_modules(object, out, seen, count, 0);
  return out;
}

// --- making objects --------------------------------------------------------------------------------------

namespace {

// All parts but those of a tuple, which are there from the start.
void fill(PyObject* object, const std::vector<Part>& parts) {
  const Layout kind = layout(Py_TYPE(object));
  for (const Part& part : parts) {
    if (part.is_attribute) {
      set_attribute(object, part.key.ptr(), part.value.ptr());
      continue;
    }
    switch (kind) {
      case Layout::list:
        check(PyList_Append(object, part.value.ptr()));
        break;
      case Layout::deque:
        nb::object(nb::handle(reinterpret_cast<PyObject*>(Types::instance().deque)).attr("append"))(nb::handle(object),
                                                                                                    part.value);
        break;
      case Layout::ordered_dict:
        check(PyODict_SetItem(object, part.key.ptr(), part.value.ptr()));
        break;
      case Layout::dict:
      case Layout::default_dict:
        check(PyDict_SetItem(object, part.key.ptr(), part.value.ptr()));
        break;
      default:
        break;
    }
  }
}

nb::object allocate(PyTypeObject* type, const std::vector<Part>& parts, PyObject* like) {
  PyTypeObject* base = layout_of(type);
  const Layout kind = layout(type);
  nb::object args = checked(PyTuple_New(0));
  if (kind == Layout::tuple) {
    nb::list items;
    for (const Part& part : parts)
      if (!part.is_attribute) items.append(part.value);
    args = nb::make_tuple(items);
  }
  nb::object made = checked(base->tp_new(type, args.ptr(), nullptr));
  if (kind == Layout::deque) {
    nb::object bound = like ? nb::object(nb::handle(like).attr("maxlen")) : nb::none();
    nb::handle(reinterpret_cast<PyObject*>(base)).attr("__init__")(made, nb::make_tuple(), bound);
  }
  if (kind == Layout::default_dict && like)
    check(PyObject_SetAttrString(made.ptr(), "default_factory",
                                 nb::object(nb::handle(like).attr("default_factory")).ptr()));
  return made;
}

}  // namespace

nb::object with_parts(PyTypeObject* type, const std::vector<Part>& parts, PyObject* like) {
  nb::object made = allocate(type, parts, like);
  fill(made.ptr(), parts);
  return made;
}

void set_parts(PyObject* object, const std::vector<Part>& parts) {
  for (const Part& part : parts_of(object))
    if (part.is_attribute) check(PyObject_GenericSetAttr(object, part.key.ptr(), nullptr));
  PyTypeObject* base = layout_of(Py_TYPE(object));
  if (base != &PyBaseObject_Type) nb::handle(reinterpret_cast<PyObject*>(base)).attr("clear")(nb::handle(object));
  fill(object, parts);
}

nb::object StructureCopy::copy(nb::handle value) {
  PyObject* o = value.ptr();
  if (Py_IS_TYPE(o, &PySet_Type)) return checked(PySet_New(o));
  if (!has_parts(o)) {
    if (!TorchTypes::instance().is_tensor(o)) return leaf_(value);
    const auto it = memo_.find(o);
    if (it != memo_.end()) return it->second.copy;
    nb::object made = leaf_(value);
    memo_.emplace(o, Copied{nb::borrow(value), made});
    return made;
  }
  if (const auto it = memo_.find(o); it != memo_.end()) {
    if (it->second.copy.is_valid()) return it->second.copy;
    throw Error(ErrorCode::CaptureError, "a tuple in the inputs contains itself");
  }
  if (++depth_ > kMaxNesting)
    throw Error(ErrorCode::CaptureError, "the inputs nest more than " + std::to_string(kMaxNesting) + " deep");
  const Layout kind = layout(Py_TYPE(o));
  std::vector<Part> parts = parts_of(o);
  memo_.emplace(o, Copied{nb::borrow(value), {}});
  nb::object made;
  // Where it can be, the copy is there before its parts are: they may refer to it.
  if (kind != Layout::tuple) memo_[o].copy = made = allocate(Py_TYPE(o), {}, o);
  for (Part& part : parts) part.value = copy(part.value);
  if (kind == Layout::tuple) memo_[o].copy = made = allocate(Py_TYPE(o), parts, o);
  fill(made.ptr(), parts);
  --depth_;
  return made;
}

nb::object copy_tensor(nb::handle tensor) {
  nb::object copy = tensor.attr("detach")().attr("clone")();
  if (nb::cast<bool>(tensor.attr("requires_grad"))) copy.attr("requires_grad_")();
  return copy;
}

nb::object copy_leaf(nb::handle leaf) {
  if (TorchTypes::instance().is_tensor(leaf.ptr())) return copy_tensor(leaf);
  return is_generator(leaf.ptr()) ? copy_generator(leaf) : nb::borrow(leaf);
}

nb::object copied(nb::handle value) {
  StructureCopy copies(copy_leaf);
  return copies.copy(value);
}

bool same_parts(const std::vector<Part>& a, const std::vector<Part>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].is_attribute != b[i].is_attribute || !a[i].value.is(b[i].value)) return false;
    if (a[i].key.is(b[i].key)) continue;
    const int equal = PyObject_RichCompareBool(a[i].key.ptr(), b[i].key.ptr(), Py_EQ);
    if (equal < 0) nb::raise_python_error();
    if (equal == 0) return false;
  }
  return true;
}

}  // namespace modulize
