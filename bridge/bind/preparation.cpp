// Preparing and capturing for Python.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bridge/bind/init.h"
#include "bridge/explore/explore.h"
#include "bridge/prepare/prepare.h"
#include "bridge/python/errors.h"
#include "bridge/python/typed.h"
#include "bridge/record/entry.h"
#include "ops/target.h"

namespace modulize {

namespace {

bool names_as_torch_fx(const std::string& target) {
  const Target* found = find_target(target);
  return found && found->naming == NamingRule::torch_fx;
}

}  // namespace

void init_preparation(nb::module_& m) {
  nb::class_<Conversions>(m, "Conversions", "The conversions of a preparation.")
      .def("__len__", [](const Conversions& c) { return c.entries.size(); })
      .def(
          "entries", [](const Conversions& c) -> ListOf<nb::typed<nb::dict, nb::str, nb::str>> { return c.as_list(); },
          "A new list of a dict each.");
  m.def(
      "prepare",
      [](nb::handle model, nb::object example_inputs, nb::object example_kwargs, nb::object concrete_args,
         nb::object modules_to_exclude, nb::object module_classes_to_exclude, nb::object functions_to_exclude,
         const std::string& on_dynamic, const std::string& target, bool layout_modules, bool tie_parameters,
         bool decompose_attention, bool idioms, nb::object plain_outputs, bool plain_sizes, bool keep_blocks,
         std::optional<std::string> keep_root, bool prepare_inner, bool verify,
         bool verify_each) -> TupleOf<Any, Record> {
        CaptureOptions options{{.example_inputs = std::move(example_inputs),
                                .example_kwargs = std::move(example_kwargs),
                                .concrete_args = std::move(concrete_args),
                                .modules_to_exclude = std::move(modules_to_exclude),
                                .module_classes_to_exclude = std::move(module_classes_to_exclude),
                                .functions_to_exclude = std::move(functions_to_exclude),
                                .on_dynamic = on_dynamic,
                                .plain_outputs = std::move(plain_outputs),
                                .decompose_attention = decompose_attention,
                                .keep_blocks = keep_blocks,
                                .spell_operators = names_as_torch_fx(target),
                                .keep_root = std::move(keep_root),
                                .prepares_inner = prepare_inner}};
        PipelineOptions pipeline;
        pipeline.target = target;
        pipeline.layout_modules = layout_modules;
        pipeline.tie_parameters = tie_parameters;
        pipeline.decompose_attention = decompose_attention;
        pipeline.plain_sizes = plain_sizes;
        pipeline.idioms = idioms;
        pipeline.verify_each = verify_each;
        const EntryMarker entry;
        return nb::borrow<nb::tuple>(prepare(model, options, pipeline, verify));
      },
      nb::arg("model"), nb::kw_only(), nb::arg("example_inputs").none(), nb::arg("example_kwargs").none(),
      nb::arg("concrete_args").none(), nb::arg("modules_to_exclude").none(),
      nb::arg("module_classes_to_exclude").none(), nb::arg("functions_to_exclude").none(),
      nb::arg("on_dynamic") = "branch", nb::arg("target"), nb::arg("layout_modules"), nb::arg("tie_parameters"),
      nb::arg("decompose_attention") = false, nb::arg("idioms") = false, nb::arg("plain_outputs").none() = nb::none(),
      nb::arg("plain_sizes") = false, nb::arg("keep_blocks") = false, nb::arg("keep_root") = nb::none(),
      nb::arg("prepare_inner") = true, nb::arg("verify"), nb::arg("verify_each") = false,
      "Captures, rewrites and materialises; returns (prepared model, report data).");
  m.def(
      "set_stand_ins", [](const std::string& mode) { set_stand_in_mode(stand_in_mode_of(mode)); }, nb::arg("mode"),
      "For tests: 'on', 'off', 'all' or 'all_invalid', as the environment variable MODULIZE_STAND_INS.");
  m.def(
      "capture",
      [](nb::handle model, nb::object example_inputs, nb::object example_kwargs, nb::object concrete_args,
         const std::string& target) {
        Capture capture;
        CaptureOptions options;
        options.spell_operators = names_as_torch_fx(target);
        options.example_inputs = std::move(example_inputs);
        options.example_kwargs = std::move(example_kwargs);
        options.concrete_args = std::move(concrete_args);
        Journal journal;
        options.journal = &journal;
        const EntryMarker entry;
        capture_completely(model, options, /*verify=*/false, capture);
        journal.require_written();
        return std::move(capture.graph);
      },
      nb::arg("model"), nb::arg("example_inputs").none() = nb::none(), nb::arg("example_kwargs").none() = nb::none(),
      nb::arg("concrete_args").none() = nb::none(), nb::arg("target") = "torch",
      "The captured graph alone, before any pass.");
}

}  // namespace modulize
