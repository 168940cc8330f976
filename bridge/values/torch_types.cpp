// TorchTypes: what the capture needs of the installed torch, looked up once.
#include "bridge/values/torch_types.h"

#include <string_view>

namespace modulize {

const TorchTypes& TorchTypes::instance() {
  static const TorchTypes* const types = [] {
    auto* t = new TorchTypes();
    nb::module_ torch = nb::module_::import_("torch");
    nb::object c = torch.attr("_C");
    const auto type = [](nb::handle from, const char* name) {
      return reinterpret_cast<PyTypeObject*>(nb::object(from.attr(name)).release().ptr());
    };
    const auto object = [](nb::handle from, const char* name) { return nb::object(from.attr(name)).release().ptr(); };
    t->tensor = type(torch, "Tensor");
    t->tensor_base = nb::hasattr(c, "TensorBase") ? type(c, "TensorBase") : type(c, "_TensorBase");
    t->parameter = type(torch.attr("nn"), "Parameter");
    t->size = type(torch, "Size");
    t->dtype = type(torch, "dtype");
    t->device = type(torch, "device");
    t->layout = type(torch, "layout");
    t->memory_format = type(torch, "memory_format");
    t->module = type(torch.attr("nn"), "Module");
    t->sequential = type(torch.attr("nn"), "Sequential");
    t->script_module = type(torch.attr("jit"), "ScriptModule");
    // Of torch 1.13 and later; there, those of torch._C do not switch the modes on and off.
    nb::object overrides = torch.attr("overrides");
    if (nb::hasattr(overrides, "_push_mode")) {
      t->push_mode = object(overrides, "_push_mode");
      t->pop_mode = object(overrides, "_pop_mode");
      t->mode_stack_length = object(c, "_len_torch_function_stack");
      t->mode_at = object(c, "_get_function_stack_at");
    }
    t->detach = object(nb::handle(reinterpret_cast<PyObject*>(t->tensor_base)), "detach");
    t->fx_tracing =
        nb::module_::import_(text_of(nb::module_::import_("torch.fx").attr("wrap").attr("__module__")).c_str())
            .release()
            .ptr();
    const auto folder_of = [](nb::handle module) {
      std::string file = text_of(module.attr("__file__"));
      file.resize(file.find_last_of("/\\") + 1);
      return file;
    };
    t->folder = folder_of(torch);
    t->our_folder = folder_of(nb::module_::import_("modulize._core"));
    return t;
  }();
  return *types;
}

bool is_user_code(PyCodeObject* code) {
  Py_ssize_t size = 0;
  const char* file = PyUnicode_AsUTF8AndSize(code->co_filename, &size);
  if (!file) {
    PyErr_Clear();
    return false;
  }
  const std::string_view path(file, static_cast<std::size_t>(size));
  const TorchTypes& torch = TorchTypes::instance();
  if (path.starts_with(torch.folder) || path.starts_with(torch.our_folder) || path.starts_with("<frozen")) return false;
  return path != "<string>" || !nb::cast<std::string>(nb::handle(code->co_name)).starts_with("__");
}

nb::object TorchTypes::top_mode() const {
  if (!push_mode) return nb::none();
  const nb::object length = checked(PyObject_CallNoArgs(mode_stack_length));
  const long depth = PyLong_AsLong(length.ptr());
  return depth > 0 ? checked(PyObject_CallOneArg(mode_at, nb::int_(depth - 1).ptr())) : nb::none();
}

}  // namespace modulize
