#include "bridge/materialise/module_types.h"

namespace modulize {

const ModuleTypes& ModuleTypes::instance() {
  static const ModuleTypes* const types = [] {
    auto* t = new ModuleTypes();
    const auto type = [](const char* module, const char* name) {
      nb::object object = nb::module_::import_(module).attr(name);
      return reinterpret_cast<PyTypeObject*>(object.release().ptr());
    };
    t->module = type("torch.nn", "Module");
    t->script_module = type("torch.jit", "ScriptModule");
    t->lazy_mixin = type("torch.nn.modules.lazy", "LazyModuleMixin");
    t->parameter = type("torch.nn", "Parameter");
    t->sequential = type("torch.nn", "Sequential");
    t->module_list = type("torch.nn", "ModuleList");
    t->module_dict = type("torch.nn", "ModuleDict");
    // Wraps load_state_dict hooks; older torch has none.
    const nb::module_ module = nb::module_::import_("torch.nn.modules.module");
    t->wrapped_hook = nb::hasattr(module, "_WrappedHook") ? type("torch.nn.modules.module", "_WrappedHook") : nullptr;
    t->partial = type("functools", "partial");
    t->ordered_dict = type("collections", "OrderedDict");
    t->default_dict = type("collections", "defaultdict");
    t->deque = type("collections", "deque");
    const auto text = [](const char* s) { return checked(PyUnicode_InternFromString(s)).release().ptr(); };
    t->modules = text("_modules");
    t->parameters = text("_parameters");
    t->buffers = text("_buffers");
    t->non_persistent = text("_non_persistent_buffers_set");
    t->training = text("training");
    t->dict = text("__dict__");
    t->cls = text("__class__");
    t->empty_tuple = checked(PyTuple_New(0)).release().ptr();
    return t;
  }();
  return *types;
}

nb::object instance_dict(PyObject* object) { return checked(PyObject_GenericGetDict(object, nullptr)); }

PyObject* dict_get(PyObject* dict, PyObject* key) {
  PyObject* value = PyDict_GetItemWithError(dict, key);
  if (!value && PyErr_Occurred()) throw nb::python_error();
  return value;
}

nb::object make_text(std::string_view text) {
  return checked(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogatepass"));
}

std::string_view view_text(PyObject* text) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text, &size);
  if (!data) throw nb::python_error();
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace modulize
