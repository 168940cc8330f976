#include "bridge/world/generators.h"

#include "bridge/python/errors.h"
#include "bridge/values/generators.h"

namespace modulize {

Generators::Generators(const ModuleScan& scan, const std::vector<nb::object>& held) {
  const nb::module_ torch = nb::module_::import_("torch");
  torch_ = torch.attr("get_rng_state")();
  const nb::object cuda = torch.attr("cuda");
  if (nb::cast<bool>(cuda.attr("is_initialized")())) cuda_ = cuda.attr("get_rng_state_all")();
  python_ = nb::module_::import_("random").attr("getstate")();
  if (PyObject* numpy = PyDict_GetItemString(PyImport_GetModuleDict(), "numpy.random")) {
    numpy_ = nb::borrow(numpy);
    numpy_state_ = numpy_.attr("get_state")();
  }
  for (const ModuleScan::Entry& entry : scan.modules) {
    PyObject* const dict = attribute_dict(entry.module);
    PyObject *key, *value;
    for (Py_ssize_t at = 0; dict && PyDict_Next(dict, &at, &key, &value);)
      if (is_generator(value)) save(value);
  }
  for (const nb::object& generator : held) save(generator);
}

void Generators::save(nb::handle generator) { held_.push_back({nb::borrow(generator), generator_state(generator)}); }

void Generators::draw_others() {
  nb::module_::import_("random").attr("seed")(20011);
  if (numpy_.is_valid()) numpy_.attr("seed")(20011);
  for (const Held& held : held_)
    if (nb::hasattr(held.generator, "random")) held.generator.attr("random")();
}

void Generators::restore() {
  const nb::module_ torch = nb::module_::import_("torch");
  torch.attr("set_rng_state")(torch_);
  if (cuda_.is_valid()) torch.attr("cuda").attr("set_rng_state_all")(cuda_);
  nb::module_::import_("random").attr("setstate")(python_);
  if (numpy_.is_valid()) numpy_.attr("set_state")(numpy_state_);
  for (const Held& held : held_) set_generator_state(held.generator, held.state);
}

}  // namespace modulize
