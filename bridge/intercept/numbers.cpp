#include "bridge/intercept/numbers.h"

#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>

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

/// `name` of `function`: a draw of anything but a number, or a seed. No graph can have what is drawn, and captures show
/// too few draws to tell what is decided by them.
[[noreturn]] void keep_draw(Recorder& recorder, const std::string& name) {
  recorder.decisions().ask_to_keep(
      name + "()",
      " draws what Python may decide by: exclude the function (functions_to_exclude) or "
      "the module (modules_to_exclude) that does it",
      recorder.settings.on_dynamic == "error" ? std::vector<KeepCandidate>() : recorder.decisions().candidates());
}

// `self` is (function, name) of such a one.
PyObject* kept_draw_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  if (Recorder* recorder = Recorder::recording())
    return guarded<PyObject*>(
        nullptr, [&]() -> PyObject* { keep_draw(*recorder, PyUnicode_AsUTF8(PyTuple_GET_ITEM(self, 1))); });
  return PyObject_Call(PyTuple_GET_ITEM(self, 0), args, kwargs);
}
PyMethodDef kept_draw_def = {"draw", as_c_function(kept_draw_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

// `self` is (function, name, count) of numpy's, which yields a number unless it is given a size: the argument behind
// the first `count`, or one by name.
PyObject* numpy_draw_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  PyObject* const function = PyTuple_GET_ITEM(self, 0);
  Recorder* recorder = Recorder::recording();
  if (!recorder) return PyObject_Call(function, args, kwargs);
  return guarded<PyObject*>(nullptr, [&] {
    const auto is_plain = [](PyObject* argument) { return PyLong_Check(argument) || PyFloat_Check(argument); };
    bool is_number = PyTuple_GET_SIZE(args) <= PyLong_AsLong(PyTuple_GET_ITEM(self, 2));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) is_number &= is_plain(PyTuple_GET_ITEM(args, i));
    PyObject *key, *value;
    for (Py_ssize_t at = 0; kwargs && PyDict_Next(kwargs, &at, &key, &value);)
      is_number &= is_plain(value) && PyUnicode_CompareWithASCIIString(key, "size") != 0;
    if (!is_number) keep_draw(*recorder, PyUnicode_AsUTF8(PyTuple_GET_ITEM(self, 1)));
    return opaque_call(*recorder, CallKind::draw, function, args, kwargs, nullptr);
  });
}
PyMethodDef numpy_draw_def = {"draw", as_c_function(numpy_draw_slot), METH_VARARGS | METH_KEYWORDS, nullptr};

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

namespace {

struct NumpyDraw {
  const char* name;
  int count;  // of its arguments before the size
};
constexpr NumpyDraw kNumpyDraws[] = {{"rand", 0},      {"random", 0},    {"random_sample", 0},   {"ranf", 0},
                                     {"sample", 0},    {"randn", 0},     {"standard_normal", 0}, {"uniform", 2},
                                     {"normal", 2},    {"randint", 2},   {"exponential", 1},     {"poisson", 1},
                                     {"beta", 2},      {"gamma", 2},     {"binomial", 2},        {"laplace", 2},
                                     {"lognormal", 2}, {"triangular", 3}};
constexpr const char* kNumpyKept[] = {"choice",    "permutation", "shuffle",     "bytes",     "seed",
                                      "set_state", "dirichlet",   "multinomial", "chisquare", "multivariate_normal"};
// Of Python's random. Subclasses of Random may call the methods of their base, which are not replaced.
constexpr const char* kPythonDraws[] = {"random",        "uniform",        "triangular",      "gauss",
                                        "normalvariate", "lognormvariate", "expovariate",     "betavariate",
                                        "gammavariate",  "paretovariate",  "vonmisesvariate", "weibullvariate",
                                        "randint",       "randrange",      "getrandbits"};
constexpr const char* kPythonKept[] = {"choice", "choices", "sample", "shuffle", "randbytes", "seed", "setstate"};

/// The process's own generators of Python and numpy: what Python decides by a number of theirs is a decision.
void patch_draws(Patches& patches, Replaced& replaced) {
  const auto replace = [&](const nb::object& module, const std::string& qualified, const char* name, PyMethodDef* def,
                           int count) {
    const nb::object original = nb::getattr(module, name, nb::none());
    if (original.is_none()) return;
    const std::string full = qualified + "." + name;
    if (def == &draw_def || def == &numpy_draw_def) FunctionNames::instance().give(original.ptr(), full);
    const nb::object wrapper =
        c_function(def, def == &draw_def ? original : nb::object(nb::make_tuple(original, full, count)));
    patches.set_item(module.attr("__dict__"), nb::str(name), wrapper);
    replaced.emplace(original.ptr(), wrapper);
  };
  const nb::object random = nb::module_::import_("random");
  for (const char* name : kPythonDraws) replace(random, "random", name, &draw_def, 0);
  for (const char* name : kPythonKept) replace(random, "random", name, &kept_draw_def, 0);
  nb::dict loaded = nb::borrow<nb::dict>(nb::module_::import_("sys").attr("modules"));
  PyObject* const numpy = PyDict_GetItemString(loaded.ptr(), "numpy.random");
  if (!numpy) return;
  const nb::object module = nb::borrow(numpy);
  for (const NumpyDraw& draw : kNumpyDraws) replace(module, "numpy.random", draw.name, &numpy_draw_def, draw.count);
  for (const char* name : kNumpyKept) replace(module, "numpy.random", name, &kept_draw_def, 0);
}

}  // namespace

// --- int() and float() -----------------------------------------------------------------------------

namespace {

int conversions_seen = 0;                                         // how many NumberConversions live
vectorcallfunc original_int = nullptr, original_float = nullptr;  // null where the class has no such slot

/// A call of the class as it is without us.
PyObject* plain_call(vectorcallfunc original, PyObject* type, PyObject* const* args, std::size_t flags,
                     PyObject* names) {
  if (original) return original(type, args, flags, names);
  return guarded<PyObject*>(nullptr, [&] {
    const auto [tuple, keywords] = as_args_and_kwargs(args, PyVectorcall_NARGS(flags), names);
    return PyType_Type.tp_call(type, tuple.ptr(), keywords.ptr());
  });
}

/// The number that is converted: the only argument, traced by the capture that records; null for any other call.
PyObject* converted(PyTypeObject* to, PyObject* type, PyObject* const* args, std::size_t flags, PyObject* names) {
  if (type != reinterpret_cast<PyObject*>(to) || PyVectorcall_NARGS(flags) != 1) return nullptr;
  if (names && PyTuple_GET_SIZE(names) > 0) return nullptr;
  NumberOrigin origin;
  if (!traced_origin(args[0], &origin)) return nullptr;
  Recorder* const recorder = Recorder::recording();
  return recorder && origin.capture == recorder->origins().capture() ? args[0] : nullptr;
}

PyObject* int_call(PyObject* type, PyObject* const* args, std::size_t flags, PyObject* names) {
  PyObject* const number = converted(&PyLong_Type, type, args, flags, names);
  if (!number) return plain_call(original_int, type, args, flags, names);
  if (PyLong_Check(number)) return Py_NewRef(number);
  return record_number_operation("builtins.int", &number, 1, PyFloat_Type.tp_as_number->nb_int(number));
}

PyObject* float_call(PyObject* type, PyObject* const* args, std::size_t flags, PyObject* names) {
  PyObject* const number = converted(&PyFloat_Type, type, args, flags, names);
  if (!number) return plain_call(original_float, type, args, flags, names);
  if (PyFloat_Check(number)) return Py_NewRef(number);
  return record_number_operation("builtins.float", &number, 1, PyLong_Type.tp_as_number->nb_float(number));
}

}  // namespace

NumberConversions::NumberConversions() {
  if (conversions_seen++ > 0) return;
  original_int = std::exchange(PyLong_Type.tp_vectorcall, int_call);
  original_float = std::exchange(PyFloat_Type.tp_vectorcall, float_call);
}

NumberConversions::~NumberConversions() {
  if (--conversions_seen > 0) return;
  PyLong_Type.tp_vectorcall = original_int;
  PyFloat_Type.tp_vectorcall = original_float;
}

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
    patch_draws(patches, replaced);
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
