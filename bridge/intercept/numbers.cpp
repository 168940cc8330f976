#include "bridge/intercept/numbers.h"

#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "bridge/boundary/call_outside.h"
#include "bridge/boundary/opaque_call.h"
#include "bridge/python/c_function.h"
#include "bridge/python/errors.h"
#include "bridge/record/function_names.h"
#include "bridge/record/proxy.h"

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
      traced |= is_proxy(a) || (traced_origin(a, &origin) && origin.capture == recorder->origins().capture()) ||
                TorchTypes::instance().is_tensor(a);
    }
    if (!traced) return PyObject_Call(function, args, kwargs);
    return opaque_call(*recorder, CallKind::number_function, function, args, kwargs, nullptr);
  });
}
PyMethodDef number_function_def = {"number_function", as_c_function(number_function_slot), METH_VARARGS | METH_KEYWORDS,
                                   nullptr};

// `self` is a function of Python's random that yields a number: what Python decides by it is a decision on a value, and
// drawing has an effect.
PyObject* draw_slot(PyObject* function, PyObject* args, PyObject* kwargs) {
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(function, args, kwargs);
  return guarded<PyObject*>(nullptr,
                            [&] { return opaque_call(*recorder, CallKind::draw, function, args, kwargs, nullptr); });
}
PyMethodDef draw_def = {"draw", as_c_function(draw_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// range() asks for the number itself.
PyObject* range_slot(PyObject* function, PyObject* args, PyObject*) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    if (!note_number_leak("a bound of range()", PyTuple_GET_ITEM(args, i))) return nullptr;
  return PyObject_Call(function, args, nullptr);
}
PyMethodDef range_def = {"range", as_c_function(range_slot), METH_VARARGS, nullptr};

}  // namespace

namespace {

using Replaced = std::unordered_map<PyObject*, nb::object>;  // by the original, which is immortal or held by a module

/// What stands in the globals of traced code under a name of its own is replaced there too.
class GlobalsOfModules {
 public:
  /// `patches` must outlive it.
  GlobalsOfModules(Patches& patches, Replaced replaced) : patches_(patches), replaced_(std::move(replaced)) {}

  /// Meets the globals of the functions of the module's class and its bases.
  void meet(PyObject* module) {
    PyTypeObject* type = Py_TYPE(module);
    if (!met_types_.insert(type).second) return;
    // The globals of every class on the way up: a base's forward may call one of the derived class and the reverse.
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); ++i) {
      auto* cls = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(type->tp_mro, i));
      if (cls == TorchTypes::instance().module) break;
      PyObject *key, *value;
      if (!cls->tp_dict) continue;
      for (Py_ssize_t at = 0; PyDict_Next(cls->tp_dict, &at, &key, &value);) {
        if (!PyFunction_Check(value)) continue;
        PyObject* globals = PyFunction_GetGlobals(value);
        if (met_globals_.insert(globals).second) replace_in(globals);
        break;  // the functions of one class body share their module
      }
    }
  }

 private:
  void replace_in(PyObject* globals) {
    std::vector<std::pair<nb::object, nb::object>> found;
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(globals, &at, &key, &value);)
      if (PyCFunction_Check(value) || PyType_Check(value) || PyMethod_Check(value) || PyFunction_Check(value))
        if (const auto it = replaced_.find(value); it != replaced_.end())
          found.emplace_back(nb::borrow(key), it->second);
    for (auto& [name, wrapper] : found) patches_.set_item(globals, name, wrapper);
  }

  Patches& patches_;
  Replaced replaced_;
  std::unordered_set<PyTypeObject*> met_types_;
  std::unordered_set<PyObject*> met_globals_;
};

}  // namespace

void patch_numbers(Patches& patches, Recorder& recorder, const std::vector<std::pair<nb::object, nb::object>>& others) {
  nb::dict math = nb::borrow<nb::dict>(nb::module_::import_("math").attr("__dict__"));
  Replaced replaced;
  std::vector<std::pair<nb::object, nb::object>> wrappers;
  for (auto [key, value] : math)
    if (PyCFunction_Check(value.ptr())) wrappers.emplace_back(nb::borrow(key), nb::borrow(value));
  for (auto& [key, value] : wrappers) {
    nb::object wrapper = c_function(&number_function_def, value);
    patches.set_item(math, key, wrapper);
    replaced.emplace(value.ptr(), wrapper);
  }
  if (recorder.mode() == CaptureMode::running) {
    // Those that yield anything else are found by the second capture, whose generators are in another state.
    const nb::object random = nb::module_::import_("random");
    for (const char* name : {"random", "uniform", "triangular", "gauss", "normalvariate", "lognormvariate",
                             "expovariate", "betavariate", "gammavariate", "paretovariate", "vonmisesvariate",
                             "weibullvariate", "randint", "randrange", "getrandbits"}) {
      const nb::object original = random.attr(name);
      FunctionNames::instance().give(original.ptr(), std::string("random.") + name);
      const nb::object wrapper = c_function(&draw_def, original);
      patches.set_item(random.attr("__dict__"), nb::str(name), wrapper);
      replaced.emplace(original.ptr(), wrapper);
    }
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
      replaced.emplace(original.ptr(), wrapper);
    }
  }
  for (const auto& [original, wrapper] : others) replaced.emplace(original.ptr(), wrapper);
  const auto globals = std::make_shared<GlobalsOfModules>(patches, std::move(replaced));
  recorder.settings.on_traced_module = [globals](PyObject* module) { globals->meet(module); };
}

}  // namespace modulize
