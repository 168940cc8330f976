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

/// A module that the model is given, with a world of its own.
struct Checkpoint::Given {
  Given(nb::object given, const Options& options)
      : module(std::move(given)),
        scan(scan_modules(module)),
        world(scan, {.with_values = options.with_values,
                     .with_containers = options.with_containers,
                     .outside = options.outside ? std::make_shared<const OutsideState>(scan) : nullptr,
                     .gradients_off = false}) {}
  nb::object module;  // holds what the scan borrows
  ModuleScan scan;
  Checkpoint world;
};

Checkpoint::Checkpoint(const ModuleScan& scan, const Options& options)
    : gradients_(nb::module_::import_("torch").attr("is_grad_enabled")()), outside_(options.outside) {
  std::vector<nb::object> held = options.generators;
  if (outside_) held.insert(held.end(), outside_->generators().begin(), outside_->generators().end());
  generators_.emplace(scan, held);
  attributes_.emplace(scan);
  if (options.with_values) buffers_.emplace(scan);
  tensors_.emplace(scan, options.with_values);
  if (options.with_containers) containers_.add_attributes_of(scan);
  if (options.given.is_valid())
    for (nb::object& module : modules_in(options.given.ptr()))
      if (!scan.path_of(module.ptr())) given_.push_back(std::make_unique<Given>(std::move(module), options));
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

void Checkpoint::before_write(PyObject* tensor) {
  tensors_->before_write(tensor);
  for (const auto& given : given_) given->world.before_write(tensor);
}

void Checkpoint::before_backward() {
  tensors_->before_backward();
  for (const auto& given : given_) given->world.before_backward();
}

void Checkpoint::before_writes_of_given() {
  for (const auto& given : given_)
    for (const auto& [tensor, path] : given->scan.tensors) before_write(tensor);
}

std::vector<nb::object> Checkpoint::written() const {
  std::vector<nb::object> out = tensors_->written();
  for (const auto& given : given_)
    for (nb::object& tensor : given->world.written()) out.push_back(std::move(tensor));
  return out;
}

std::vector<std::string> Checkpoint::restore() {
  std::vector<std::string> changed;
  if (is_restored_) return changed;
  is_restored_ = true;
  // First of all, as the worlds of given modules may hold the same: what the model's own code left is told.
  if (outside_) outside_changes_ = outside_->restore();
  for (const auto& given : given_) given->world.restore();
  enable_gradients(nb::handle(Py_False));  // forward may have left them on; what is put back is not differentiated
  changed = containers_.restore();
  for (std::string& name : attributes_->restore()) changed.push_back(std::move(name));
  if (buffers_) buffers_->restore(changed);
  tensors_->restore(changed);
  generators_->restore();
  enable_gradients(gradients_);
  return changed;
}

}  // namespace modulize
