#include "bridge/world/checkpoint.h"

#include "bridge/python/errors.h"

namespace modulize {

namespace {

void enable_gradients(nb::handle enabled) {
  static PyObject* const function =
      nb::object(nb::module_::import_("torch").attr("_C").attr("_set_grad_enabled")).release().ptr();
  checked(PyObject_CallOneArg(function, enabled.ptr()));
}

}  // namespace

Checkpoint::Checkpoint(const ModuleScan& scan, const Options& options)
    : gradients_(nb::module_::import_("torch").attr("is_grad_enabled")()), outside_(options.outside) {
  std::vector<nb::object> held = options.generators;
  if (outside_) held.insert(held.end(), outside_->generators().begin(), outside_->generators().end());
  generators_.emplace(scan, held);
  attributes_.emplace(scan);
  if (options.with_values) buffers_.emplace(scan);
  tensors_.emplace(scan, options.with_values);
  if (options.with_containers) containers_.add_attributes_of(scan);
  if (options.gradients_off) enable_gradients(nb::handle(Py_False));
}

Checkpoint::~Checkpoint() {
  if (is_restored_) return;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  try {
    restore();
  } catch (nb::python_error& e) {
    e.discard_as_unraisable("putting a model back");
  }
  PyErr_Restore(type, value, trace);
}

std::vector<std::string> Checkpoint::restore() {
  std::vector<std::string> changed;
  if (is_restored_) return changed;
  is_restored_ = true;
  enable_gradients(nb::handle(Py_False));  // forward may have left them on; what is put back is not differentiated
  changed = containers_.restore();
  for (std::string& name : attributes_->restore()) changed.push_back(std::move(name));
  if (buffers_) buffers_->restore(changed);
  tensors_->restore(changed);
  if (outside_) outside_changes_ = outside_->restore();
  generators_->restore();
  enable_gradients(gradients_);
  return changed;
}

}  // namespace modulize
