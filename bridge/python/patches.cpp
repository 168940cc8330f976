#include "bridge/python/patches.h"

#include <map>
#include <string>
#include <utility>

#include "bridge/python/errors.h"

namespace modulize {

// --- undo list ---------------------------------------------------------------------------------------

void Patches::set_item(nb::handle dict, nb::handle key, nb::handle value) {
  PyObject* was = PyDict_GetItem(dict.ptr(), key.ptr());
  entries_.push_back(
      {nb::borrow(dict), nb::borrow(key), was ? nb::borrow(was) : nb::object(), nb::borrow(value), Kind::item});
  if (PyDict_SetItem(dict.ptr(), key.ptr(), value.ptr()) < 0) nb::raise_python_error();
}

void Patches::set_attribute(nb::handle object, const char* name, nb::handle value) {
  nb::object key = nb::steal(PyUnicode_InternFromString(name));
  nb::object was;
  nb::object held = nb::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())), key.ptr()));
  if (!held.is_valid()) PyErr_Clear();
  if (held.is_valid() && Py_TYPE(held.ptr())->tp_descr_set) {
    // A data descriptor of the type has it, as the code of a function.
    was = nb::steal(PyObject_GetAttr(object.ptr(), key.ptr()));
    if (!was.is_valid()) nb::raise_python_error();
  } else {
    // The object's own entry, not an inherited one: what was inherited is deleted again.
    nb::object dict = nb::steal(PyObject_GetAttrString(object.ptr(), "__dict__"));
    if (!dict.is_valid()) nb::raise_python_error();
    was = nb::steal(PyObject_GetItem(dict.ptr(), key.ptr()));
    if (!was.is_valid()) PyErr_Clear();
  }
  entries_.push_back({nb::borrow(object), key, std::move(was), nb::borrow(value), Kind::attribute});
  if (PyObject_SetAttr(object.ptr(), key.ptr(), value.ptr()) < 0) nb::raise_python_error();
}

void Patches::set_class_entry(PyTypeObject* type, const char* name, nb::handle value) {
  nb::object key = nb::steal(PyUnicode_InternFromString(name));
  PyObject* was = PyDict_GetItem(type->tp_dict, key.ptr());
  entries_.push_back({nb::borrow(reinterpret_cast<PyObject*>(type)), key, was ? nb::borrow(was) : nb::object(),
                      nb::borrow(value), Kind::class_entry});
  if (PyDict_SetItem(type->tp_dict, key.ptr(), value.ptr()) < 0) nb::raise_python_error();
  PyType_Modified(type);
}

void Patches::put(const Entry& entry, const nb::object& value) {
  auto* const type = entry.kind == Kind::class_entry ? reinterpret_cast<PyTypeObject*>(entry.target.ptr()) : nullptr;
  PyObject* const dict = type ? type->tp_dict : entry.target.ptr();
  int failed;
  if (entry.kind != Kind::attribute)
    failed =
        value.is_valid() ? PyDict_SetItem(dict, entry.key.ptr(), value.ptr()) : PyDict_DelItem(dict, entry.key.ptr());
  else
    failed = value.is_valid() ? PyObject_SetAttr(entry.target.ptr(), entry.key.ptr(), value.ptr())
                              : PyObject_DelAttr(entry.target.ptr(), entry.key.ptr());
  if (failed) PyErr_WriteUnraisable(entry.target.ptr());
  if (type) PyType_Modified(type);
}

void Patches::undo() {
  suspend();
  entries_.clear();
}

void Patches::suspend() {
  if (entries_.empty()) return;
  // May run while an exception (KeyboardInterrupt included) is on its way: keep it.
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) put(*it, it->original);
  PyErr_Restore(type, value, trace);
}

void Patches::resume() {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  for (const Entry& entry : entries_) put(entry, entry.replacement);
  PyErr_Restore(type, value, trace);
}

nb::object c_function(PyMethodDef* def, nb::handle self) {
  nb::object made = nb::steal(PyCFunction_New(def, self.ptr()));
  if (!made.is_valid()) nb::raise_python_error();
  return made;
}

void replace_code(Patches& patches, nb::handle f, PyMethodDef* handler_def, nb::object extra) {
  // What replaces the code of torch's own functions is made once a process; they live as long.
  struct Made {
    PyObject* real;
    PyObject* code;
  };
  static auto* const made = new std::map<std::pair<PyObject*, PyMethodDef*>, Made>();
  const auto known = made->find({f.ptr(), handler_def});
  if (known != made->end() && known->second.real == PyFunction_GET_CODE(f.ptr())) {
    patches.set_attribute(f, "__code__", nb::handle(known->second.code));
    return;
  }
  nb::object function_type = nb::module_::import_("types").attr("FunctionType");
  nb::object real = f.attr("__code__");
  nb::object clone =
      function_type(real, f.attr("__globals__"), f.attr("__name__"), f.attr("__defaults__"), f.attr("__closure__"));
  clone.attr("__kwdefaults__") = f.attr("__kwdefaults__");
  nb::object handler = c_function(handler_def, nb::make_tuple(nb::borrow(f), clone, extra));
  // A function that hands its arguments to a constant, which is then our handler; with the free variables of the
  // real code, as Python insists.
  static PyObject* const stub_code = [] {
    nb::dict space;
    space["__builtins__"] = nb::module_::import_("builtins");
    // A file name that is not the user's.
    nb::object code = nb::steal(
        Py_CompileString("def call(*args, **kwargs):\n    handler = 'handler'\n    return handler(args, kwargs)\n",
                         "<frozen modulize>", Py_file_input));
    if (!code.is_valid()) nb::raise_python_error();
    nb::object done = nb::steal(PyEval_EvalCode(code.ptr(), space.ptr(), space.ptr()));
    if (!done.is_valid()) nb::raise_python_error();
    return nb::object(space["call"].attr("__code__")).release().ptr();
  }();
  nb::handle stub(stub_code);
  nb::list constants;
  for (nb::handle c : stub.attr("co_consts"))
    constants.append(PyUnicode_Check(c.ptr()) && nb::cast<std::string>(c) == "handler" ? handler : nb::borrow(c));
  nb::object code = stub.attr("replace")(nb::arg("co_consts") = nb::tuple(constants),
                                         nb::arg("co_freevars") = real.attr("co_freevars"));
  if (known == made->end() && text_of(f.attr("__module__")).starts_with("torch.")) {
    f.inc_ref();
    made->emplace(std::pair(f.ptr(), handler_def),
                  Made{nb::borrow(real).release().ptr(), nb::borrow(code).release().ptr()});
  }
  patches.set_attribute(f, "__code__", code);
}

}  // namespace modulize
