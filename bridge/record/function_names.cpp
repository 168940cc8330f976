#include "bridge/record/function_names.h"

#include <cctype>

#include "ops/attributes.h"
#include "ops/effects_of.h"

namespace modulize {

namespace {

bool is_in_place_name(std::string_view name) {
  if (name == "__setitem__" || name == "setitem" || name == "__delitem__") return true;
  if (name.starts_with("__") && name.ends_with("__")) {
    static const char* const augmented[] = {"__iadd__",      "__isub__", "__imul__",    "__itruediv__", "__idiv__",
                                            "__ifloordiv__", "__imod__", "__ipow__",    "__imatmul__",  "__iand__",
                                            "__ior__",       "__ixor__", "__ilshift__", "__irshift__"};
    for (const char* n : augmented)
      if (name == n) return true;
    return false;
  }
  return name.size() > 1 && name.ends_with('_') && !name.ends_with("__");
}

// Dunder methods that have a function of the operator module with the same operand order.
const char* operator_of(std::string_view name) {
  static const std::pair<std::string_view, const char*> operators[] = {
      {"__getitem__", "operator.getitem"},
      {"__setitem__", "operator.setitem"},
      {"__delitem__", "operator.delitem"},
      {"__and__", "operator.and_"},
      {"__or__", "operator.or_"},
      {"__xor__", "operator.xor"},
      {"__invert__", "operator.invert"},
      {"__neg__", "operator.neg"},
      {"__pos__", "operator.pos"},
      {"__abs__", "operator.abs"},
      {"__lshift__", "operator.lshift"},
      {"__rshift__", "operator.rshift"},
      {"__eq__", "operator.eq"},
      {"__ne__", "operator.ne"},
      {"__lt__", "operator.lt"},
      {"__le__", "operator.le"},
      {"__gt__", "operator.gt"},
      {"__ge__", "operator.ge"},
      {"__add__", "operator.add"},
      {"__sub__", "operator.sub"},
      {"__mul__", "operator.mul"},
      {"__truediv__", "operator.truediv"},
      {"__floordiv__", "operator.floordiv"},
      {"__mod__", "operator.mod"},
      {"__pow__", "operator.pow"},
      {"__matmul__", "operator.matmul"},
      {"__iadd__", "operator.iadd"},
      {"__isub__", "operator.isub"},
      {"__imul__", "operator.imul"},
      {"__itruediv__", "operator.itruediv"},
      {"__ifloordiv__", "operator.ifloordiv"},
      {"__imod__", "operator.imod"},
      {"__ipow__", "operator.ipow"},
      {"__imatmul__", "operator.imatmul"},
      {"__iand__", "operator.iand"},
      {"__ior__", "operator.ior"},
      {"__ixor__", "operator.ixor"},
      {"__ilshift__", "operator.ilshift"},
      {"__irshift__", "operator.irshift"},
  };
  for (const auto& [method, function] : operators)
    if (name == method) return function;
  return nullptr;
}

/// With what the op table says of the call.
CallName known_call(CallForm form, std::string name, bool in_place) {
  CallName out{form, std::move(name), in_place};
  if (form == CallForm::function || form == CallForm::method) {
    const Opcode op = form == CallForm::method ? Opcode::call_method : Opcode::call_function;
    out.may_raise = raises_of_call(op, out.name) == Raises::by_values;
    out.tells = tells_of_call(op, out.name);
    out.told_by = told_by(op, out.name);
    out.required = required_arguments(op, out.name);
  } else if (const AttributeRow* attribute = find_attribute(out.name); attribute && form == CallForm::getter) {
    out.tells = attribute->tells;
  }
  if (form == CallForm::getter && out.tells != Tells::value && out.tells != Tells::memory) out.told_by = ToldBy::shapes;
  return out;
}

nb::object import_or_none(const char* qualified) {
  // "torch._C._nn" is an attribute, not an importable module: walk the parts.
  std::string text = qualified;
  const std::size_t dot = text.find('.');
  nb::object at = nb::steal(PyImport_ImportModule(text.substr(0, dot).c_str()));
  if (!at.is_valid()) {
    PyErr_Clear();
    return nb::none();
  }
  std::size_t start = dot;
  while (start != std::string::npos) {
    const std::size_t end = text.find('.', start + 1);
    const std::string part = text.substr(start + 1, end == std::string::npos ? end : end - start - 1);
    if (!nb::hasattr(at, part.c_str())) return nb::none();
    at = at.attr(part.c_str());
    start = end;
  }
  return at;
}

}  // namespace

FunctionNames& FunctionNames::instance() {
  static FunctionNames* names = new FunctionNames();
  return *names;
}

FunctionNames::FunctionNames() {
  // The first namespace that holds a function names it: public ones before private ones.
  add_namespace("torch.Tensor", CallForm::method);
  add_namespace("torch.nn.functional", CallForm::function);
  add_namespace("torch", CallForm::function);
  for (const char* space :
       {"torch.special", "torch.linalg", "torch.fft", "torch.nn.init", "torch.functional", "torch.nn.utils.rnn",
        "torch._C._nn", "torch._VF", "torch.autograd", "torch._C._special", "torch._C._linalg", "torch._C._fft",
        "torch._C._VariableFunctions", "torch.utils.checkpoint", "operator", "math", "builtins"})
    add_namespace(space, CallForm::function);
}

void FunctionNames::add_namespace(const char* qualified, CallForm form) {
  const nb::object space = import_or_none(qualified);
  if (space.is_none()) return;
  const bool is_type = PyType_Check(space.ptr());
  nb::list names = nb::steal<nb::list>(PyObject_Dir(space.ptr()));
  for (nb::handle key : names) {
    const std::string name = nb::cast<std::string>(key);
    nb::object object = nb::steal(PyObject_GetAttr(space.ptr(), key.ptr()));
    if (!object.is_valid()) {
      PyErr_Clear();  // some names of torch raise when they are read (deprecated or unsupported here)
      continue;
    }
    // Types are constructors of their own and are named by qualified name; modules and data are not callables.
    if (!PyCallable_Check(object.ptr()) || PyType_Check(object.ptr()) || PyModule_Check(object.ptr())) continue;
    if (is_type && name.starts_with("__") && (name == "__class__" || name == "__subclasshook__" || name == "__new__"))
      continue;
    if (names_.contains(object.ptr())) continue;
    // `operator.__add__` and `torch._C._nn` privates only name what has no public name.
    if (std::string_view(qualified) == "operator" && name.starts_with("__")) continue;
    const char* const op = form == CallForm::method ? operator_of(name) : nullptr;
    CallName call = op ? known_call(CallForm::function, op, is_in_place_name(name))
                       : known_call(form, form == CallForm::method ? name : std::string(qualified) + "." + name,
                                    is_in_place_name(name));
    // The namespace keeps it alive; a deletion there would leave a stale key, so own a reference.
    Py_INCREF(object.ptr());
    names_.emplace(object.ptr(), std::move(call));
  }
}

void FunctionNames::give(PyObject* callable, std::string name) {
  found_.insert(callable, known_call(CallForm::function, std::move(name), false));
}

const CallName& FunctionNames::find(PyObject* callable) {
  if (const auto it = names_.find(callable); it != names_.end()) return it->second;
  if (const CallName* name = found_.find(callable)) return *name;

  // A property read or write arrives as a fresh method-wrapper of its descriptor: `Tensor.shape.__get__`.
  static PyTypeObject* const wrapper_type = [] {
    nb::object probe = nb::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(&PyBaseObject_Type), "__str__"));
    nb::object one = nb::int_(1);
    nb::object bound = nb::steal(PyObject_GetAttrString(one.ptr(), "__str__"));
    return Py_TYPE(bound.ptr());
  }();
  if (Py_TYPE(callable) == wrapper_type) {
    nb::object self = nb::steal(PyObject_GetAttrString(callable, "__self__"));
    nb::object method = nb::steal(PyObject_GetAttrString(callable, "__name__"));
    if (self.is_valid() && method.is_valid()) {
      nb::object name = nb::steal(PyObject_GetAttrString(self.ptr(), "__name__"));
      if (!name.is_valid()) {
        PyErr_Clear();
        nb::object getter = nb::steal(PyObject_GetAttrString(self.ptr(), "fget"));
        if (getter.is_valid()) name = nb::steal(PyObject_GetAttrString(getter.ptr(), "__name__"));
      }
      if (name.is_valid() && PyUnicode_Check(name.ptr())) {
        const std::string which = nb::cast<std::string>(method);
        if (which == "__get__" || which == "__set__") {
          const std::string text = nb::cast<std::string>(name);
          const auto [it, fresh] = getters_.try_emplace(which + text);
          if (fresh)
            it->second = known_call(which == "__get__" ? CallForm::getter : CallForm::setter, text, which == "__set__");
          return it->second;
        }
      }
    }
    PyErr_Clear();
  }

  // An operator of torch.ops: "aten::mul.Tensor" is torch.ops.aten.mul.Tensor, "mylib::scale" is torch.ops.mylib.scale.
  const std::string_view kind = Py_TYPE(callable)->tp_name;
  if (kind == "OpOverloadPacket" || kind == "OpOverload") {
    nb::object text =
        nb::steal(PyObject_GetAttrString(callable, kind == "OpOverload" ? "_name" : "_qualified_op_name"));
    PyErr_Clear();
    if (text.is_valid() && PyUnicode_Check(text.ptr())) {
      std::string name = nb::cast<std::string>(text);
      const std::size_t colons = name.find("::");
      if (colons != std::string::npos) {
        const bool bare = kind == "OpOverload" && name.find('.', colons) == std::string::npos;
        name.replace(colons, 2, ".");
        const std::size_t end = name.find('.', colons + 1);
        const bool in_place = is_in_place_name(name.substr(colons + 1, end - colons - 1));
        return found_.insert(callable,
                             known_call(CallForm::function, "torch.ops." + name + (bare ? ".default" : ""), in_place));
      }
    }
  }

  // Anything else by its own claim of a name, if that claim leads back to the same object.
  nb::object module = nb::steal(PyObject_GetAttrString(callable, "__module__"));
  PyErr_Clear();
  nb::object qualname = nb::steal(PyObject_GetAttrString(callable, "__qualname__"));
  PyErr_Clear();
  if (module.is_valid() && qualname.is_valid() && PyUnicode_Check(module.ptr()) && PyUnicode_Check(qualname.ptr())) {
    const std::string qualified = nb::cast<std::string>(module) + "." + nb::cast<std::string>(qualname);
    if (qualified.find('<') == std::string::npos && !qualified.starts_with("__main__.")) {
      // By the path that generated source takes: a function may hide the module that it is defined in.
      const nb::object at = import_or_none(qualified.c_str());
      if (at.is_valid() && at.ptr() == callable) {
        const std::size_t dot = qualified.rfind('.');
        return found_.insert(callable,
                             known_call(CallForm::function, qualified, is_in_place_name(qualified.substr(dot + 1))));
      }
    }
  }
  scratch_ = CallName{CallForm::opaque, "", false};
  return scratch_;
}

}  // namespace modulize
