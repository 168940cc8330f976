#include "bridge/values/traced_number.h"

#include <cstring>

namespace modulize {

namespace {

// CPython facts. An int subclass keeps its digits at the end of the object, so a field cannot simply follow the struct:
// the instance is allocated with spare digits and the origin is kept behind the room that any 64-bit value needs. This
// holds from 3.9 (ob_digit directly behind ob_size) to 3.13 (behind lv_tag).
constexpr Py_ssize_t kOriginOffset = 40;
constexpr Py_ssize_t kSpareDigits = 8;
static_assert(offsetof(PyLongObject, ob_base) == 0);
static_assert(sizeof(NumberOrigin) <= 12);

struct TracedFloatObject {
  PyFloatObject base;
  NumberOrigin origin;
};

PyTypeObject* int_type = nullptr;
PyTypeObject* float_type = nullptr;

NumberOrigin* int_origin(PyObject* self) {
  return reinterpret_cast<NumberOrigin*>(reinterpret_cast<char*>(self) + kOriginOffset);
}

PyObject* int_alloc(PyTypeObject* type, Py_ssize_t n) {
  return PyType_GenericAlloc(type, (n > 3 ? n : 3) + kSpareDigits);
}

PyObject* plain_int(PyObject* self) {
  // nb_int of int itself makes an exact int of a subclass instance.
  return PyLong_Type.tp_as_number->nb_int(self);
}

PyObject* plain_float(PyObject* self) { return PyFloat_FromDouble(PyFloat_AS_DOUBLE(self)); }

// --- binary and unary slots: compute plainly, then record --------------------------------------------
using Binary = PyObject* (*)(PyObject*, PyObject*);

PyObject* binary(const char* name, Binary compute, PyObject* a, PyObject* b) {
  // Only numbers: a tensor or any other operand answers for itself.
  if (!(PyLong_Check(a) || PyFloat_Check(a)) || !(PyLong_Check(b) || PyFloat_Check(b))) Py_RETURN_NOTIMPLEMENTED;
  PyObject* pa = plain_number(a);
  PyObject* pb = plain_number(b);
  PyObject* result = pa && pb ? compute(pa, pb) : nullptr;
  Py_XDECREF(pa);
  Py_XDECREF(pb);
  PyObject* operands[2] = {a, b};
  return record_number_operation(name, operands, 2, result);
}

#define MODULIZE_BINARY(slot, api, name) \
  PyObject* slot(PyObject* a, PyObject* b) { return binary(name, api, a, b); }
MODULIZE_BINARY(number_add, PyNumber_Add, "add")
MODULIZE_BINARY(number_subtract, PyNumber_Subtract, "sub")
MODULIZE_BINARY(number_multiply, PyNumber_Multiply, "mul")
MODULIZE_BINARY(number_remainder, PyNumber_Remainder, "mod")
MODULIZE_BINARY(number_floor_divide, PyNumber_FloorDivide, "floordiv")
MODULIZE_BINARY(number_true_divide, PyNumber_TrueDivide, "truediv")
MODULIZE_BINARY(number_lshift, PyNumber_Lshift, "lshift")
MODULIZE_BINARY(number_rshift, PyNumber_Rshift, "rshift")
MODULIZE_BINARY(number_and, PyNumber_And, "and_")
MODULIZE_BINARY(number_or, PyNumber_Or, "or_")
MODULIZE_BINARY(number_xor, PyNumber_Xor, "xor")
#undef MODULIZE_BINARY

PyObject* number_divmod(PyObject* a, PyObject* b) {
  // divmod is a pair of two recordable operations.
  PyObject* quotient = number_floor_divide(a, b);
  if (!quotient || quotient == Py_NotImplemented) return quotient;
  PyObject* rest = number_remainder(a, b);
  if (!rest) {
    Py_DECREF(quotient);
    return nullptr;
  }
  PyObject* pair = PyTuple_Pack(2, quotient, rest);
  Py_DECREF(quotient);
  Py_DECREF(rest);
  return pair;
}

PyObject* number_power(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) {
    PyObject *pa = plain_number(a), *pb = plain_number(b), *pm = plain_number(modulus);
    PyObject* result = pa && pb && pm ? PyNumber_Power(pa, pb, pm) : nullptr;
    Py_XDECREF(pa);
    Py_XDECREF(pb);
    Py_XDECREF(pm);
    return result;
  }
  return binary(
      "pow", [](PyObject* x, PyObject* y) { return PyNumber_Power(x, y, Py_None); }, a, b);
}

PyObject* unary(const char* name, PyObject* (*compute)(PyObject*), PyObject* a) {
  PyObject* pa = plain_number(a);
  PyObject* result = pa ? compute(pa) : nullptr;
  Py_XDECREF(pa);
  return record_number_operation(name, &a, 1, result);
}
PyObject* number_negative(PyObject* a) { return unary("neg", PyNumber_Negative, a); }
PyObject* number_positive(PyObject* a) { return unary("pos", PyNumber_Positive, a); }
PyObject* number_absolute(PyObject* a) { return unary("abs", PyNumber_Absolute, a); }
PyObject* number_invert(PyObject* a) { return unary("invert", PyNumber_Invert, a); }

int number_bool(PyObject* a) {
  PyObject* pa = plain_number(a);
  if (!pa) return -1;
  const int truth = PyObject_IsTrue(pa);
  Py_DECREF(pa);
  if (truth < 0) return -1;
  return record_number_decision("truth", &a, 1, truth != 0);
}

PyObject* number_compare(PyObject* a, PyObject* b, int op) {
  if (!(PyLong_Check(b) || PyFloat_Check(b))) Py_RETURN_NOTIMPLEMENTED;
  static const char* const names[] = {"lt", "le", "eq", "ne", "gt", "ge"};
  PyObject* pa = plain_number(a);
  PyObject* pb = plain_number(b);
  PyObject* result = pa && pb ? PyObject_RichCompare(pa, pb, op) : nullptr;
  Py_XDECREF(pa);
  Py_XDECREF(pb);
  if (!result) return nullptr;
  PyObject* operands[2] = {a, b};
  const int outcome = record_number_decision(names[op], operands, 2, result == Py_True);
  Py_DECREF(result);
  return outcome < 0 ? nullptr : PyBool_FromLong(outcome);
}

PyObject* number_int(PyObject* a) {
  if (!note_number_leak("int()", a)) return nullptr;
  return PyLong_Check(a) ? plain_int(a) : PyFloat_Type.tp_as_number->nb_int(a);
}

PyObject* number_float(PyObject* a) {
  if (!note_number_leak("float()", a)) return nullptr;
  return PyLong_Check(a) ? PyLong_Type.tp_as_number->nb_float(a) : plain_float(a);
}

PyObject* number_bit_length(PyObject* a, PyObject*) {
  if (!note_number_leak("bit_length()", a)) return nullptr;
  PyObject* pa = plain_number(a);
  PyObject* out = pa ? PyObject_CallMethod(pa, "bit_length", nullptr) : nullptr;
  Py_XDECREF(pa);
  return out;
}

PyObject* number_format(PyObject* a, PyObject* spec) {
  if (!note_number_leak("text", a)) return nullptr;
  PyObject* pa = plain_number(a);
  PyObject* out = pa ? PyObject_Format(pa, spec) : nullptr;
  Py_XDECREF(pa);
  return out;
}

Py_hash_t number_hash(PyObject* a) {
  if (!note_number_leak("a key of a dict or set", a)) return -1;
  return PyLong_Check(a) ? PyLong_Type.tp_hash(a) : PyFloat_Type.tp_hash(a);
}

PyObject* number_str(PyObject* a) {
  if (!note_number_leak("text", a)) return nullptr;
  PyObject* pa = plain_number(a);
  PyObject* text = pa ? PyObject_Str(pa) : nullptr;
  Py_XDECREF(pa);
  return text;
}

PyObject* reduce(PyObject* a, PyObject*) {
  // Pickled and copied as the plain number: a traced one means nothing outside its capture.
  PyObject* pa = plain_number(a);
  if (!pa) return nullptr;
  PyObject* out = Py_BuildValue(
      "O(O)", PyLong_Check(a) ? reinterpret_cast<PyObject*>(&PyLong_Type) : reinterpret_cast<PyObject*>(&PyFloat_Type),
      pa);
  Py_DECREF(pa);
  return out;
}

// math.floor, math.ceil, math.trunc and round() of a number reach these methods.
PyObject* method(const char* name, const char* recorded, PyObject* a) {
  PyObject* pa = plain_number(a);
  PyObject* result = pa ? PyObject_CallMethod(pa, name, nullptr) : nullptr;
  Py_XDECREF(pa);
  return record_number_operation(recorded, &a, 1, result);
}
PyObject* number_floor(PyObject* a, PyObject*) { return method("__floor__", "math.floor", a); }
PyObject* number_ceil(PyObject* a, PyObject*) { return method("__ceil__", "math.ceil", a); }
PyObject* number_trunc(PyObject* a, PyObject*) { return method("__trunc__", "math.trunc", a); }
PyObject* number_round(PyObject* a, PyObject* args) {
  PyObject* digits = nullptr;
  if (!PyArg_ParseTuple(args, "|O", &digits)) return nullptr;
  PyObject* pa = plain_number(a);
  PyObject* result = !pa ? nullptr
                         : (digits ? PyObject_CallMethod(pa, "__round__", "O", digits)
                                   : PyObject_CallMethod(pa, "__round__", nullptr));
  Py_XDECREF(pa);
  PyObject* operands[2] = {a, digits};
  return record_number_operation("builtins.round", operands, digits ? 2 : 1, result);
}

PyMethodDef int_methods[] = {
    {"bit_length", number_bit_length, METH_NOARGS, nullptr}, {"__reduce_ex__", reduce, METH_O, nullptr},
    {"__floor__", number_floor, METH_NOARGS, nullptr},       {"__ceil__", number_ceil, METH_NOARGS, nullptr},
    {"__trunc__", number_trunc, METH_NOARGS, nullptr},       {"__round__", number_round, METH_VARARGS, nullptr},
    {"__format__", number_format, METH_O, nullptr},          {nullptr, nullptr, 0, nullptr},
};
PyMethodDef* const float_methods = int_methods + 1;  // all but the first

#define SLOT(id, fn) \
  { id, reinterpret_cast<void*>(fn) }

}  // namespace

bool init_traced_number_types() {
  if (int_type) return true;
  static PyType_Slot int_slots[] = {
      SLOT(Py_tp_alloc, int_alloc),
      SLOT(Py_tp_methods, int_methods),
      SLOT(Py_nb_int, number_int),
      SLOT(Py_nb_float, number_float),
      SLOT(Py_tp_hash, number_hash),
      SLOT(Py_tp_richcompare, number_compare),
      SLOT(Py_tp_str, number_str),
      SLOT(Py_tp_repr, number_str),
      SLOT(Py_nb_add, number_add),
      SLOT(Py_nb_subtract, number_subtract),
      SLOT(Py_nb_multiply, number_multiply),
      SLOT(Py_nb_remainder, number_remainder),
      SLOT(Py_nb_divmod, number_divmod),
      SLOT(Py_nb_power, number_power),
      SLOT(Py_nb_negative, number_negative),
      SLOT(Py_nb_positive, number_positive),
      SLOT(Py_nb_absolute, number_absolute),
      SLOT(Py_nb_bool, number_bool),
      SLOT(Py_nb_invert, number_invert),
      SLOT(Py_nb_lshift, number_lshift),
      SLOT(Py_nb_rshift, number_rshift),
      SLOT(Py_nb_and, number_and),
      SLOT(Py_nb_xor, number_xor),
      SLOT(Py_nb_or, number_or),
      SLOT(Py_nb_floor_divide, number_floor_divide),
      SLOT(Py_nb_true_divide, number_true_divide),
      {0, nullptr},
  };
  static PyType_Spec int_spec = {"modulize._core.TracedInt", 0, 0, Py_TPFLAGS_DEFAULT, int_slots};
  static PyType_Slot float_slots[] = {
      SLOT(Py_nb_int, number_int),
      SLOT(Py_nb_float, number_float),
      SLOT(Py_tp_methods, float_methods),
      SLOT(Py_tp_hash, number_hash),
      SLOT(Py_tp_richcompare, number_compare),
      SLOT(Py_tp_str, number_str),
      SLOT(Py_tp_repr, number_str),
      SLOT(Py_nb_add, number_add),
      SLOT(Py_nb_subtract, number_subtract),
      SLOT(Py_nb_multiply, number_multiply),
      SLOT(Py_nb_remainder, number_remainder),
      SLOT(Py_nb_divmod, number_divmod),
      SLOT(Py_nb_power, number_power),
      SLOT(Py_nb_negative, number_negative),
      SLOT(Py_nb_positive, number_positive),
      SLOT(Py_nb_absolute, number_absolute),
      SLOT(Py_nb_bool, number_bool),
      SLOT(Py_nb_floor_divide, number_floor_divide),
      SLOT(Py_nb_true_divide, number_true_divide),
      {0, nullptr},
  };
  static PyType_Spec float_spec = {"modulize._core.TracedFloat", sizeof(TracedFloatObject), 0, Py_TPFLAGS_DEFAULT,
                                   float_slots};
  PyObject* bases = PyTuple_Pack(1, &PyLong_Type);
  if (!bases) return false;
  int_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpecWithBases(&int_spec, bases));
  Py_DECREF(bases);
  if (!int_type) return false;
  bases = PyTuple_Pack(1, &PyFloat_Type);
  if (!bases) return false;
  float_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpecWithBases(&float_spec, bases));
  Py_DECREF(bases);
  return float_type != nullptr;
}

PyObject* make_traced_int(PyObject* plain, const NumberOrigin& origin) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(plain, &overflow);
  if (overflow) {
    Py_INCREF(plain);
    return plain;
  }
  if (value == -1 && PyErr_Occurred()) return nullptr;
  PyObject* args = PyTuple_Pack(1, plain);
  if (!args) return nullptr;
  PyObject* out = PyLong_Type.tp_new(int_type, args, nullptr);
  Py_DECREF(args);
  if (out) *int_origin(out) = origin;
  return out;
}

PyObject* make_traced_float(double value, const NumberOrigin& origin) {
  PyObject* out = float_type->tp_alloc(float_type, 0);
  if (!out) return nullptr;
  auto* traced = reinterpret_cast<TracedFloatObject*>(out);
  traced->base.ob_fval = value;
  traced->origin = origin;
  return out;
}

bool traced_origin(PyObject* object, NumberOrigin* origin) {
  if (Py_TYPE(object) == int_type) {
    *origin = *int_origin(object);
    return true;
  }
  if (Py_TYPE(object) == float_type) {
    *origin = reinterpret_cast<TracedFloatObject*>(object)->origin;
    return true;
  }
  return false;
}

PyObject* plain_number(PyObject* object) {
  if (Py_TYPE(object) == int_type) return plain_int(object);
  if (Py_TYPE(object) == float_type) return plain_float(object);
  Py_INCREF(object);
  return object;
}

}  // namespace modulize
