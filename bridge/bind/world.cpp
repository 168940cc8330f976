// The checkpoint for Python.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bridge/bind/init.h"
#include "bridge/python/errors.h"
#include "bridge/python/typed.h"
#include "bridge/world/checkpoint.h"

namespace modulize {

namespace {

/// A Checkpoint with what it looks at, for Python.
class ModelCheckpoint {
 public:
  ModelCheckpoint(nb::object model, const nb::object& written, const nb::object& given, bool gradients_off)
      : model_(std::move(model)), scan_(scan_modules(model_)) {
    world_.emplace(scan_, Checkpoint::Options{.outside = std::make_shared<const OutsideState>(scan_),
                                              .given = given,
                                              .gradients_off = gradients_off});
    world_->before_writes_of_given();
    for (nb::handle tensor : written) world_->before_write(tensor.ptr());
    world_->before_backward();  // nobody tells of one
  }
  ListOf<nb::str> restore() {
    nb::list names;
    for (const std::string& name : world_->restore()) names.append(name);
    return names;
  }

 private:
  nb::object model_;  // holds what the scan borrows
  const ModuleScan scan_;
  std::optional<Checkpoint> world_;
};

}  // namespace

void init_world(nb::module_& m) {
  nb::class_<ModelCheckpoint>(
      m, "Checkpoint",
      "The world of a model as it is: random generators, attributes, classes, hooks and buffers of its modules,\n"
      "gradients and flags of its tensors, what its code can name. `written`: tensors whose contents may change.\n"
      "`given`: arguments; modules among them are put back too.")
      .def(nb::init<nb::object, nb::object, nb::object, bool>(), nb::arg("model"), nb::arg("written") = nb::tuple(),
           nb::arg("given") = nb::tuple(), nb::arg("gradients_off") = false)
      .def("restore", &ModelCheckpoint::restore, "Puts everything back and returns the names of what had changed.")
      .def(
          "__enter__", [](ModelCheckpoint& self) -> ModelCheckpoint& { return self; }, nb::rv_policy::reference)
      .def(
          "__exit__", [](ModelCheckpoint& self, nb::handle, nb::handle, nb::handle) { self.restore(); },
          nb::arg("type").none(), nb::arg("error").none(), nb::arg("trace").none());
}

}  // namespace modulize
