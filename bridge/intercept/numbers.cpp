#include "bridge/intercept/numbers.h"

#include <memory>
#include <unordered_map>

#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/proxy.h"
#include "bridge/record/recorder.h"

namespace modulize {

namespace {

// `self` is math.* or a builtin of numbers: recorded when an argument itself (not something inside it) is recorded.
PyObject* number_function_slot(PyObject* function, PyObject* args, PyObject* kwargs) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(function, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    bool traced = false;
    NumberOrigin origin;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) {
      PyObject* a = PyTuple_GET_ITEM(args, i);
      traced |= is_proxy(a) || (traced_origin(a, &origin) && origin.capture == recorder->id()) ||
                TorchTypes::instance().is_tensor(a);
    }
    if (!traced) return PyObject_Call(function, args, kwargs);
    return recorder->opaque_call(function, args, kwargs, nullptr);
  });
}
PyMethodDef number_function_def = {"number_function", as_c_function(number_function_slot), METH_VARARGS | METH_KEYWORDS,
                                   nullptr};

// range() asks for the number itself.
PyObject* range_slot(PyObject* function, PyObject* args, PyObject*) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    if (!note_number_leak("a bound of range()", PyTuple_GET_ITEM(args, i))) return nullptr;
  return PyObject_Call(function, args, nullptr);
}
PyMethodDef range_def = {"range", as_c_function(range_slot), METH_VARARGS, nullptr};

}  // namespace

void patch_numbers(Patches& patches, Recorder& recorder, const std::vector<std::pair<nb::object, nb::object>>& others) {
  nb::dict math = nb::borrow<nb::dict>(nb::module_::import_("math").attr("__dict__"));
  auto* replaced = new std::unordered_map<PyObject*, nb::object>();
  auto shared = std::shared_ptr<std::unordered_map<PyObject*, nb::object>>(replaced);
  std::vector<std::pair<nb::object, nb::object>> wrappers;
  for (auto [key, value] : math)
    if (PyCFunction_Check(value.ptr())) wrappers.emplace_back(nb::borrow(key), nb::borrow(value));
  for (auto& [key, value] : wrappers) {
    nb::object wrapper = c_function(&number_function_def, value);
    patches.set_item(math, key, wrapper);
    replaced->emplace(value.ptr(), wrapper);
  }
  if (recorder.mode() == CaptureMode::running) {
    nb::object builtins = nb::module_::import_("builtins").attr("__dict__");
    {
      nb::str key("range");
      nb::object original = nb::borrow(PyDict_GetItem(builtins.ptr(), key.ptr()));
      // A class, as `isinstance(n, range)` and `int | range` want it; what it calls is ours.
      static PyObject* const replacement =
          nb::object(
              nb::module_::import_("modulize._engine").attr("stand_in")(original, c_function(&range_def, original)))
              .release()
              .ptr();
      patches.set_item(builtins, key, nb::handle(replacement));
    }
    // einops looks sizes up in a cache, which would keep them as plain numbers: ask the function behind it.
    nb::dict loaded = nb::borrow<nb::dict>(nb::module_::import_("sys").attr("modules"));
    if (PyObject* einops = PyDict_GetItemString(loaded.ptr(), "einops.einops"))
      if (nb::hasattr(einops, "_reconstruct_from_shape") && nb::hasattr(einops, "_reconstruct_from_shape_uncached"))
        patches.set_attribute(einops, "_reconstruct_from_shape",
                              nb::handle(einops).attr("_reconstruct_from_shape_uncached"));
    for (const char* name : {"len", "max", "min"}) {
      nb::str key(name);
      nb::object original = nb::borrow(PyDict_GetItem(builtins.ptr(), key.ptr()));
      nb::object wrapper = c_function(&number_function_def, original);
      patches.set_item(builtins, key, wrapper);
      replaced->emplace(original.ptr(), wrapper);
    }
  }
  for (const auto& [original, wrapper] : others) replaced->emplace(original.ptr(), wrapper);
  recorder.on_globals = [&patches, shared](PyObject* globals) {
    std::vector<std::pair<nb::object, nb::object>> found;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(globals, &at, &key, &value);)
      if (PyCFunction_Check(value) || PyType_Check(value))
        if (const auto it = shared->find(value); it != shared->end()) found.emplace_back(nb::borrow(key), it->second);
    for (auto& [name, wrapper] : found) patches.set_item(globals, name, wrapper);
  };
}

}  // namespace modulize
