#include "bridge/record/proxy.h"

#include <frameobject.h>

#include "bridge/python/errors.h"

namespace modulize {

namespace {

// Our fields follow whatever the Python class torch.fx.Proxy has in its instances. No owned references: a pending
// attribute is kept as a number of the recorder's name list.
struct ProxyFields {
  std::uint32_t capture;
  NodeId node;          // kNoNode while an attribute is pending
  NodeId root;          // of a pending attribute
  PyObject* attribute;  // borrowed: interned text, immortal through the name list below
};

PyTypeObject* type = nullptr;
Py_ssize_t fields_offset = 0;

ProxyFields& fields(PyObject* self) {
  return *reinterpret_cast<ProxyFields*>(reinterpret_cast<char*>(self) + fields_offset);
}

PyObject* keep_name(PyObject* name) {
  // Attribute names are few; each is interned once and kept for the process.
  static PyObject* const names = PyDict_New();
  PyObject* known = PyDict_GetItem(names, name);
  if (known) return known;
  PyDict_SetItem(names, name, name);
  return PyDict_GetItem(names, name);
}

[[noreturn]] void refuse_stale() {
  throw Error(
      ErrorCode::CaptureError,
      "a symbolic value of an earlier capture is used outside of it: forward stored it somewhere; give example_inputs");
}

PyObject* make_proxy_object(std::uint32_t capture, NodeId node) {
  PyTypeObject* t = proxy_type();
  PyObject* out = t->tp_alloc(t, 0);
  if (!out) nb::raise_python_error();
  fields(out) = {capture, node, kNoNode, nullptr};
  return out;
}

/// The recorder that owns `self`. Throws when none records.
Recorder& owner(PyObject* self) {
  Recorder* recorder = Recorder::current();
  if (!recorder || recorder->origins().capture() != fields(self).capture) refuse_stale();
  return *recorder;
}

Recorder& owner_of_any(PyObject* const* operands, int count) {
  for (int i = 0; i < count; ++i)
    if (is_proxy(operands[i])) return owner(operands[i]);
  refuse_stale();
}

PyObject* record(const char* target, PyObject* const* operands, int count) {
  return guarded<PyObject*>(nullptr, [&] {
    Recorder& recorder = owner_of_any(operands, count);
    ValueList args;
    for (int i = 0; i < count; ++i) args.push_back(recorder.to_value(operands[i]));
    return make_proxy(recorder, recorder.add_function(target, std::move(args), ValueType::unknown));
  });
}

#define BINARY(fn, target)                          \
  PyObject* fn(PyObject* a, PyObject* b) {          \
    PyObject* operands[2] = {a, b};                 \
    return record("operator." target, operands, 2); \
  }
BINARY(proxy_add, "add")
BINARY(proxy_subtract, "sub")
BINARY(proxy_multiply, "mul")
BINARY(proxy_remainder, "mod")
BINARY(proxy_matmul, "matmul")
BINARY(proxy_floor_divide, "floordiv")
BINARY(proxy_true_divide, "truediv")
BINARY(proxy_lshift, "lshift")
BINARY(proxy_rshift, "rshift")
BINARY(proxy_and, "and_")
BINARY(proxy_or, "or_")
BINARY(proxy_xor, "xor")
BINARY(proxy_iadd, "iadd")
BINARY(proxy_isub, "isub")
BINARY(proxy_imul, "imul")
BINARY(proxy_imod, "imod")
BINARY(proxy_imatmul, "imatmul")
BINARY(proxy_ifloordiv, "ifloordiv")
BINARY(proxy_itruediv, "itruediv")
BINARY(proxy_ilshift, "ilshift")
BINARY(proxy_irshift, "irshift")
BINARY(proxy_iand, "iand")
BINARY(proxy_ior, "ior")
BINARY(proxy_ixor, "ixor")
BINARY(proxy_getitem, "getitem")
#undef BINARY

PyObject* proxy_power(PyObject* a, PyObject* b, PyObject* modulus) {
  PyObject* operands[3] = {a, b, modulus};
  if (modulus != Py_None) return record("builtins.pow", operands, 3);
  return record("operator.pow", operands, 2);
}
PyObject* proxy_ipower(PyObject* a, PyObject* b, PyObject*) {
  PyObject* operands[2] = {a, b};
  return record("operator.ipow", operands, 2);
}
PyObject* proxy_negative(PyObject* a) { return record("operator.neg", &a, 1); }
PyObject* proxy_positive(PyObject* a) { return record("operator.pos", &a, 1); }
PyObject* proxy_absolute(PyObject* a) { return record("operator.abs", &a, 1); }
PyObject* proxy_invert(PyObject* a) { return record("operator.invert", &a, 1); }

PyObject* proxy_compare(PyObject* a, PyObject* b, int op) {
  static const char* const targets[] = {"operator.lt", "operator.le", "operator.eq",
                                        "operator.ne", "operator.gt", "operator.ge"};
  PyObject* operands[2] = {a, b};
  return record(targets[op], operands, 2);
}

int proxy_setitem(PyObject* self, PyObject* key, PyObject* value) {
  PyObject* operands[3] = {self, key, value};
  PyObject* done = record(value ? "operator.setitem" : "operator.delitem", operands, value ? 3 : 2);
  Py_XDECREF(done);
  return done ? 0 : -1;
}

template <class Result>
Result refuse(PyObject* self, Result failed, const char* what) {
  return guarded<Result>(failed, [&]() -> Result { owner(self).decisions().refuse_control_flow(what); });
}
int proxy_bool(PyObject* self) {
  return guarded<int>(-1, [&] {
    Recorder& recorder = owner(self);
    return recorder.decisions().decide(proxy_node(self, recorder), true) ? 1 : 0;
  });
}
Py_hash_t proxy_hash(PyObject* self) { return refuse<Py_hash_t>(self, -1, "a key of a dict or set"); }
Py_ssize_t proxy_length(PyObject* self) { return refuse<Py_ssize_t>(self, -1, "len()"); }
int proxy_contains(PyObject* self, PyObject*) { return refuse(self, -1, "'in'"); }
PyObject* proxy_int(PyObject* self) { return refuse<PyObject*>(self, nullptr, "int()"); }
PyObject* proxy_float(PyObject* self) { return refuse<PyObject*>(self, nullptr, "float()"); }
PyObject* proxy_index(PyObject* self) {
  return refuse<PyObject*>(self, nullptr, "use as an index or a count (range(), a list index, torch.tensor())");
}
PyObject* proxy_array(PyObject* self, PyObject*) { return refuse<PyObject*>(self, nullptr, "conversion to numpy"); }
PyObject* proxy_array_ufunc(PyObject* self, PyObject*, PyObject*) {
  return refuse<PyObject*>(self, nullptr, "a numpy function");
}

PyObject* proxy_repr(PyObject* self) {
  return guarded<PyObject*>(nullptr, [&] {
    Recorder* recorder = Recorder::current();
    const ProxyFields& f = fields(self);
    if (!recorder || recorder->origins().capture() != f.capture)
      return PyUnicode_FromString("Proxy(of an earlier capture)");
    if (f.node == kNoNode)
      return PyUnicode_FromFormat("Proxy(%s.%U)", recorder->graph()[f.root].name.c_str(), f.attribute);
    return PyUnicode_FromFormat("Proxy(%s)", recorder->graph()[f.node].name.c_str());
  });
}
PyObject* text_told(PyObject*, PyObject*) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Recorder* recorder = Recorder::current();
    if (recorder && recorder->mode() == CaptureMode::symbolic)
      recorder->decisions().refuse_control_flow("a text made of a symbolic value, which is compared or taken apart,");
    Py_RETURN_NONE;
  });
}
PyMethodDef text_told_def = {"told", text_told, METH_NOARGS, nullptr};

// Texts for errors that are not raised (`torch._assert(h == 7, f"got {h}")`) are common; those that Python may decide
// by refuse.
PyObject* proxy_str(PyObject* self) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    static PyObject* const text_class = [] {
      nb::object told = checked(PyCFunction_New(&text_told_def, nullptr));
      return nb::object(nb::module_::import_("modulize._engine").attr("text_class")(told)).release().ptr();
    }();
    const nb::object text = checked(proxy_repr(self));
    return PyObject_CallOneArg(text_class, text.ptr());
  });
}
PyObject* proxy_format(PyObject* self, PyObject*) { return proxy_str(self); }
PyObject* proxy_round(PyObject* self, PyObject* args) {
  PyObject* digits = nullptr;
  if (!PyArg_ParseTuple(args, "|O", &digits)) return nullptr;
  PyObject* operands[2] = {self, digits};
  return record("builtins.round", operands, digits ? 2 : 1);
}
PyObject* proxy_divmod(PyObject* a, PyObject* b) {
  PyObject* operands[2] = {a, b};
  PyObject* quotient = record("operator.floordiv", operands, 2);
  PyObject* rest = quotient ? record("operator.mod", operands, 2) : nullptr;
  PyObject* pair = rest ? PyTuple_Pack(2, quotient, rest) : nullptr;
  Py_XDECREF(quotient);
  Py_XDECREF(rest);
  return pair;
}

PyObject* proxy_copy(PyObject* self, PyObject*) {
  Py_INCREF(self);
  return self;
}
PyObject* proxy_reduce(PyObject*, PyObject*) {
  PyErr_SetString(PyExc_TypeError, "a symbolic value of a capture cannot be pickled");
  return nullptr;
}
PyObject* proxy_keys(PyObject* self, PyObject*) {
  return guarded<PyObject*>(nullptr, [&] {
    Recorder& recorder = owner(self);
    Node node;
    node.op = Opcode::call_method;
    node.target = "keys";
    node.args = {Value::node(proxy_node(self, recorder))};
    return make_proxy(recorder, recorder.add_node(std::move(node)));
  });
}

// Calls its bound method with nothing recorded.
PyObject* call_quietly(PyObject* bound, PyObject* args, PyObject* kwargs) {
  return guarded<PyObject*>(nullptr, [&] {
    Recorder* recorder = Recorder::current();
    if (!recorder) return PyObject_Call(bound, args, kwargs);
    Pause quiet(*recorder);
    return PyObject_Call(bound, args, kwargs);
  });
}
PyMethodDef quiet_call_def = {"metadata", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_quietly)),
                              METH_VARARGS | METH_KEYWORDS, nullptr};

// Metadata of a parameter or buffer of the model is a fact, not a symbol: models branch on it.
PyObject* known_metadata(Recorder& recorder, NodeId node, PyObject* name) {
  const Node& n = recorder.graph()[node];
  if (n.op != Opcode::get_attr) return nullptr;
  static const char* const facts[] = {"shape", "ndim", "size", "dim", "numel", "nelement", "is_floating_point"};
  bool fact = false;
  for (const char* f : facts) fact |= PyUnicode_CompareWithASCIIString(name, f) == 0;
  if (!fact) return nullptr;
  for (const auto& [tensor, path] : recorder.scan().tensors)
    if (path == n.target) {
      Pause quiet(recorder);
      PyObject* out = PyObject_GetAttr(tensor, name);
      if (!out) nb::raise_python_error();
      if (!PyCallable_Check(out)) return out;
      PyObject* quiet_method = PyCFunction_New(&quiet_call_def, out);
      Py_DECREF(out);
      return quiet_method;
    }
  return nullptr;
}

/// Is the symbol no tensor for sure, or does functools choose a function by its class? isinstance() asks here as well,
/// in torch too: what it is told then must be the truth.
bool class_decides(Recorder& recorder, PyObject* symbol) {
  const NodeId node = proxy_node(symbol, recorder);
  const Node& made = recorder.graph()[node];
  if (made.op == Opcode::call_method && (made.target == "item" || made.target == "tolist")) return true;
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return false;
  const nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  return text_of(code.attr("co_filename")).ends_with("functools.py");
}

PyObject* proxy_getattr(PyObject* self, PyObject* name) {
  if (Recorder::recording() && PyUnicode_CompareWithASCIIString(name, "__class__") == 0)
    return guarded<PyObject*>(nullptr, [&] {
      Recorder& recorder = owner(self);
      if (class_decides(recorder, self)) recorder.decisions().refuse_control_flow("the class of a symbol");
      return PyObject_GenericGetAttr(self, name);
    });
  if (_PyType_Lookup(Py_TYPE(self), name)) return PyObject_GenericGetAttr(self, name);
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Py_ssize_t length = 0;
    const char* text = PyUnicode_AsUTF8AndSize(name, &length);
    if (!text) nb::raise_python_error();
    const std::string_view n(text, static_cast<std::size_t>(length));
    if (n.size() > 4 && n.starts_with("__") && n.ends_with("__")) {
      PyErr_Format(PyExc_AttributeError, "'Proxy' object has no attribute '%U'", name);
      return nullptr;
    }
    Recorder& recorder = owner(self);
    if (n == "_version") recorder.decisions().refuse_control_flow("'_version', the number of writes to a tensor,");
    const NodeId root = proxy_node(self, recorder);
    if (PyObject* fact = known_metadata(recorder, root, name)) return fact;
    PyObject* out = make_proxy_object(fields(self).capture, kNoNode);
    fields(out).root = root;
    fields(out).attribute = keep_name(name);
    return out;
  });
}

int proxy_setattr(PyObject* self, PyObject* name, PyObject* value) {
  if (!value) {
    PyErr_Format(PyExc_AttributeError, "cannot delete attribute '%U' of a symbolic value", name);
    return -1;
  }
  if (!PyObject_HasAttr(reinterpret_cast<PyObject*>(TorchTypes::instance().tensor), name))
    return guarded<int>(-1, [&]() -> int {
      owner(self).decisions().refuse_control_flow("writing '" + text_of(name) +
                                                  "', which tensors do not have, to an argument");
    });
  PyObject* operands[3] = {self, name, value};
  PyObject* done = record("builtins.setattr", operands, 3);
  Py_XDECREF(done);
  return done ? 0 : -1;
}

PyObject* proxy_call(PyObject* self, PyObject* args, PyObject* kwargs) {
  return guarded<PyObject*>(nullptr, [&] {
    Recorder& recorder = owner(self);
    ProxyFields& f = fields(self);
    Node node;
    node.op = Opcode::call_method;
    if (f.node == kNoNode) {
      node.target = nb::cast<std::string>(nb::handle(f.attribute));
      node.args.push_back(Value::node(f.root));
    } else {
      node.target = "__call__";
      node.args.push_back(Value::node(f.node));
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
      node.args.push_back(recorder.to_value(PyTuple_GET_ITEM(args, i)));
    PyObject *key, *value;
    if (kwargs)
      for (Py_ssize_t at = 0; PyDict_Next(kwargs, &at, &key, &value);)
        node.kwargs.emplace_back(nb::cast<std::string>(nb::handle(key)), recorder.to_value(value));
    return make_proxy(recorder, recorder.add_node(std::move(node)));
  });
}

/// How many values the running instruction unpacks; -1 where it does not unpack.
long unpack_count() {
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return -1;
  static const long unpack = nb::cast<long>(nb::module_::import_("opcode").attr("opmap")["UNPACK_SEQUENCE"]);
  static const long extended = nb::cast<long>(nb::module_::import_("opcode").attr("opmap")["EXTENDED_ARG"]);
  nb::handle f(reinterpret_cast<PyObject*>(frame));
  const long at = nb::cast<long>(f.attr("f_lasti"));
  nb::object code = f.attr("f_code").attr("co_code");
  const auto* bytes = reinterpret_cast<const unsigned char*>(PyBytes_AS_STRING(code.ptr()));
  const Py_ssize_t size = PyBytes_GET_SIZE(code.ptr());
  if (at < 0 || at + 1 >= size) return -1;
  if (bytes[at] == unpack) {
    long count = bytes[at + 1];
    for (long prefix = at - 2, shift = 8; prefix >= 0 && bytes[prefix] == extended; prefix -= 2, shift += 8)
      count |= static_cast<long>(bytes[prefix + 1]) << shift;
    return count;
  }
  // Before 3.11 the position is that of the first prefix.
  long next = at, count = 0;
  while (next + 1 < size && bytes[next] == extended) {
    count = (count | bytes[next + 1]) << 8;
    next += 2;
  }
  return next != at && next + 1 < size && bytes[next] == unpack ? count | bytes[next + 1] : -1;
}

PyObject* proxy_iter(PyObject* self) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Recorder& recorder = owner(self);
    const long count = unpack_count();
    if (count < 0)
      recorder.decisions().refuse_control_flow(
          "iterating over a value of unknown length (a 'for' loop, '*' unpacking, list() or tuple())");
    const NodeId node = proxy_node(self, recorder);
    nb::object items = nb::steal(PyTuple_New(count));
    if (!items.is_valid()) nb::raise_python_error();
    for (long i = 0; i < count; ++i)
      PyTuple_SET_ITEM(
          items.ptr(), i,
          make_proxy(recorder, recorder.add_function("operator.getitem", {Value::node(node), Value::integer(i)},
                                                     ValueType::unknown)));
    return PyObject_GetIter(items.ptr());
  });
}

PyObject* proxy_torch_function(PyObject*, PyObject* args, PyObject*) {
  PyObject *function, *types, *call_args = nullptr, *call_kwargs = nullptr;
  if (!PyArg_ParseTuple(args, "OO|OO", &function, &types, &call_args, &call_kwargs)) return nullptr;
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Recorder* recorder = Recorder::current();
    if (!recorder || recorder->mode() != CaptureMode::symbolic) refuse_stale();
    nb::object positional = call_args ? nb::borrow(call_args) : nb::object(nb::tuple());
    return torch_call(*recorder, function, positional.ptr(),
                      call_kwargs && call_kwargs != Py_None ? call_kwargs : nullptr);
  });
}

PyMethodDef methods[] = {
    {"__torch_function__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(proxy_torch_function)),
     METH_VARARGS | METH_KEYWORDS | METH_CLASS, nullptr},
    {"__array__", proxy_array, METH_VARARGS, nullptr},
    {"__array_ufunc__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(proxy_array_ufunc)),
     METH_VARARGS | METH_KEYWORDS, nullptr},
    {"__format__", proxy_format, METH_O, nullptr},
    {"__round__", proxy_round, METH_VARARGS, nullptr},
    {"__copy__", proxy_copy, METH_NOARGS, nullptr},
    {"__deepcopy__", proxy_copy, METH_O, nullptr},
    {"__reduce_ex__", proxy_reduce, METH_O, nullptr},
    {"__getstate__", proxy_reduce, METH_NOARGS, nullptr},
    {"keys", proxy_keys, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyTypeObject* proxy_type() {
  if (type) return type;
  nb::object base = nb::module_::import_("torch.fx").attr("Proxy");
  fields_offset = reinterpret_cast<PyTypeObject*>(base.ptr())->tp_basicsize;
#define SLOT(id, fn) \
  { id, reinterpret_cast<void*>(fn) }
  static PyType_Slot slots[] = {
      SLOT(Py_tp_methods, methods),
      SLOT(Py_tp_getattro, proxy_getattr),
      SLOT(Py_tp_setattro, proxy_setattr),
      SLOT(Py_tp_call, proxy_call),
      SLOT(Py_tp_iter, proxy_iter),
      SLOT(Py_tp_repr, proxy_repr),
      SLOT(Py_tp_str, proxy_str),
      SLOT(Py_tp_hash, proxy_hash),
      SLOT(Py_tp_richcompare, proxy_compare),
      SLOT(Py_mp_subscript, proxy_getitem),
      SLOT(Py_mp_ass_subscript, proxy_setitem),
      SLOT(Py_mp_length, proxy_length),
      SLOT(Py_sq_contains, proxy_contains),
      SLOT(Py_nb_add, proxy_add),
      SLOT(Py_nb_subtract, proxy_subtract),
      SLOT(Py_nb_multiply, proxy_multiply),
      SLOT(Py_nb_remainder, proxy_remainder),
      SLOT(Py_nb_divmod, proxy_divmod),
      SLOT(Py_nb_power, proxy_power),
      SLOT(Py_nb_matrix_multiply, proxy_matmul),
      SLOT(Py_nb_floor_divide, proxy_floor_divide),
      SLOT(Py_nb_true_divide, proxy_true_divide),
      SLOT(Py_nb_lshift, proxy_lshift),
      SLOT(Py_nb_rshift, proxy_rshift),
      SLOT(Py_nb_and, proxy_and),
      SLOT(Py_nb_or, proxy_or),
      SLOT(Py_nb_xor, proxy_xor),
      SLOT(Py_nb_negative, proxy_negative),
      SLOT(Py_nb_positive, proxy_positive),
      SLOT(Py_nb_absolute, proxy_absolute),
      SLOT(Py_nb_invert, proxy_invert),
      SLOT(Py_nb_bool, proxy_bool),
      SLOT(Py_nb_int, proxy_int),
      SLOT(Py_nb_float, proxy_float),
      SLOT(Py_nb_index, proxy_index),
      SLOT(Py_nb_inplace_add, proxy_iadd),
      SLOT(Py_nb_inplace_subtract, proxy_isub),
      SLOT(Py_nb_inplace_multiply, proxy_imul),
      SLOT(Py_nb_inplace_remainder, proxy_imod),
      SLOT(Py_nb_inplace_power, proxy_ipower),
      SLOT(Py_nb_inplace_matrix_multiply, proxy_imatmul),
      SLOT(Py_nb_inplace_floor_divide, proxy_ifloordiv),
      SLOT(Py_nb_inplace_true_divide, proxy_itruediv),
      SLOT(Py_nb_inplace_lshift, proxy_ilshift),
      SLOT(Py_nb_inplace_rshift, proxy_irshift),
      SLOT(Py_nb_inplace_and, proxy_iand),
      SLOT(Py_nb_inplace_or, proxy_ior),
      SLOT(Py_nb_inplace_xor, proxy_ixor),
      {0, nullptr},
  };
#undef SLOT
  unsigned flags = Py_TPFLAGS_DEFAULT;
#if PY_VERSION_HEX >= 0x030A0000
  // `match` takes these for what may fit a pattern, and asks for their length, which a symbol refuses to tell. Without
  // them no pattern would fit, and the case below would be taken.
  flags |= Py_TPFLAGS_SEQUENCE | Py_TPFLAGS_MAPPING;
#endif
  static PyType_Spec spec = {"modulize._core.Proxy", 0, 0, 0, slots};
  spec.flags = flags;
  spec.basicsize = static_cast<int>(fields_offset + static_cast<Py_ssize_t>(sizeof(ProxyFields)));
  nb::object bases = nb::make_tuple(base);
  PyObject* made = PyType_FromSpecWithBases(&spec, bases.ptr());
  if (!made) nb::raise_python_error();
  type = reinterpret_cast<PyTypeObject*>(made);
  return type;
}

bool is_proxy(PyObject* object) { return type && Py_TYPE(object) == type; }

NodeId proxy_node(PyObject* object, Recorder& recorder) {
  if (!is_proxy(object)) return kNoNode;
  ProxyFields& f = fields(object);
  if (f.capture != recorder.origins().capture()) refuse_stale();
  if (f.node == kNoNode)
    f.node = recorder.add_function("builtins.getattr",
                                   {Value::node(f.root), Value::string(nb::cast<std::string>(nb::handle(f.attribute)))},
                                   ValueType::unknown);
  return f.node;
}

PyObject* make_proxy(Recorder& recorder, NodeId node) { return make_proxy_object(recorder.origins().capture(), node); }

}  // namespace modulize
