// The extension module modulize._core: no logic of its own.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "bridge/explore/explore.h"
#include "bridge/intercept/kept_functions.h"
#include "bridge/materialise/materialise.h"
#include "bridge/prepare/prepare.h"
#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "bridge/python/names.h"
#include "bridge/python/typed.h"
#include "bridge/record/entry.h"
#include "bridge/record/function_names.h"
#include "bridge/values/module_scan.h"
#include "bridge/values/structure.h"
#include "bridge/values/torch_types.h"
#include "bridge/values/traced_number.h"
#include "bridge/world/checkpoint.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/runtime_calls.h"
#include "ir/verifier.h"
#include "ops/effects_of.h"
#include "ops/op_match.h"
#include "ops/op_table.h"
#include "ops/target.h"
#include "passes/idiom_table.h"
#include "passes/pipeline.h"
#include "report/listing.h"
#include "validate/validate.h"

namespace modulize {

namespace {

Record as_dict(const Finding& f) {
  nb::dict out;
  out["kind"] = std::string(finding_name(f.kind));
  out["is_error"] = is_error(f.kind);
  out["path"] = f.path;
  out["where"] = f.where;
  out["message"] = f.message;
  out["remedy"] = f.remedy;
  return out;
}

Record as_dict(const ListedNode& n) {
  nb::dict out;
  out["name"] = n.name;
  out["op"] = n.op;
  out["what"] = n.what;
  out["path"] = n.path;
  out["scope"] = n.scope;
  out["file"] = n.file;
  out["line"] = n.line;
  out["text"] = n.text;
  out["kind"] = std::string(listed_kind_name(n.kind));
  out["takes_one_value"] = n.takes_one_value;
  out["is_plain"] = n.is_plain;
  out["base"] = n.base;
  out["inputs"] = nb::cast(n.inputs);
  out["condition"] = n.condition;
  out["decided_at"] = n.decided_at;
  return out;
}

/// `leaves`: pairs (path, qualified class); `shared`: lists of names.
ListOf<Record> validate_graph(const Graph& graph, const std::vector<std::pair<std::string, std::string>>& leaves,
                              std::vector<std::vector<std::string>> shared) {
  ModelFacts facts;
  for (const auto& [path, type] : leaves) facts.leaves.push_back({path, type});
  facts.shared_tensors = std::move(shared);
  nb::list out;
  for (const Finding& finding : validate(graph, facts)) out.append(as_dict(finding));
  return out;
}

/// Runs passes on a graph in text form; the default pipeline where none are named. `options`: see set_option.
std::string run_passes(const std::string& text, const std::vector<std::string>& names,
                       const std::vector<std::string>& options, const std::string& target) {
  Graph graph = parse(text);
  PipelineOptions pipeline;
  pipeline.target = target;
  pipeline.verify_each = true;
  for (const std::string& word : options)
    if (!set_option(pipeline, word)) throw Error(ErrorCode::ArgumentError, "there is no option '" + word + "'");
  verify(graph);
  if (names.empty()) {
    run_pipeline(graph, pipeline, nullptr);
    return print(graph);
  }
  for (const std::string& name : names) {
    const PassInfo* pass = find_pass(name);
    if (!pass) throw Error(ErrorCode::ArgumentError, "there is no pass '" + name + "'");
    pass->run(graph, {pipeline, nullptr});
    verify(graph);
  }
  return print(graph);
}

/// A Checkpoint with what it looks at, for Python.
class ModelCheckpoint {
 public:
  ModelCheckpoint(nb::object model, const nb::object& written, bool gradients_off)
      : model_(std::move(model)), scan_(scan_modules(model_)) {
    world_.emplace(scan_, Checkpoint::Options{.outside = std::make_shared<const OutsideState>(scan_),
                                              .gradients_off = gradients_off});
    for (nb::handle tensor : written) world_->tensors().before_write(tensor.ptr());
    world_->tensors().before_backward();  // nobody tells of one
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

Graph graph_from_text(const std::string& text) { return parse(text); }

// Nothing for callables that the captures have no name for, and for methods.
std::optional<std::string> function_name(nb::handle callable) {
  const CallName& name = FunctionNames::instance().find(callable.ptr());
  return name.form == CallForm::function ? std::optional(name.name) : std::nullopt;
}

bool names_as_torch_fx(const std::string& target) {
  const Target* found = find_target(target);
  return found && found->naming == NamingRule::torch_fx;
}

bool is_known_operation(const std::string& call) {
  Node node;
  node.op = Opcode::call_function;
  node.target = call;
  const OpSpelling* spelling = find_op(node);
  return spelling && !spelling->op->is_registered;
}

void register_operation(nb::handle function, const std::string& call, const std::string& type,
                        const std::string& base) {
  register_op(call, type, base);
  if (!PyFunction_Check(function.ptr())) return;
  FunctionNames::instance().give(function.ptr(), call);
  add_registered_function(function);
}

}  // namespace

void bind_materialise(nb::module_& m);

}  // namespace modulize

NB_MODULE(_core, m) {
  using namespace modulize;
#ifndef MODULIZE_TELLS_LEAKS
  nb::set_leak_warnings(false);  // a script that ends by an exception keeps its objects to the end
#endif
  if (!init_traced_number_types()) throw nb::python_error();
  bind_errors(m);
  bind_materialise(m);
  bind_structure(m);

  nb::class_<Graph>(m, "Graph", "A graph of the core; `str()` of it is its .mzir text.")
      .def(
          "__init__", [](Graph* self, const std::string& text) { new (self) Graph(parse(text)); }, nb::arg("text"))
      .def("__str__", [](const Graph& g) { return print(g); })
      .def("__repr__", [](const Graph& g) { return "<modulize graph of " + std::to_string(g.size()) + " nodes>"; })
      .def("__len__", [](const Graph& g) { return g.size(); })
      .def(
          "nodes",
          [](const Graph& g) -> ListOf<Record> {
            nb::list out;
            for (const ListedNode& node : list_nodes(g)) out.append(as_dict(node));
            return out;
          },
          "Every operation, blocks and branches opened, as a list of a dict each.")
      .def(
          "computing_calls",
          [](const Graph& g) {
            const ComputingCalls calls = count_computing_calls(g);
            return std::pair(calls.modules, calls.others);
          },
          "How many of the computing calls are modules of their own, and how many are not.")
      // Pickle refers to classes by name; functions of nanobind it refuses.
      .def("__reduce_ex__",
           [](const Graph& g, nb::handle) -> TupleOf<Any, TupleOf<nb::str>> {
             return nb::make_tuple(nb::type<Graph>(), nb::make_tuple(print(g)));
           })
      .def("__deepcopy__", [](const Graph& g, nb::handle) { return Graph(g); });
  nb::class_<Conversions>(m, "Conversions", "The conversions of a preparation.")
      .def("__len__", [](const Conversions& c) { return c.entries.size(); })
      .def(
          "entries", [](const Conversions& c) -> ListOf<nb::typed<nb::dict, nb::str, nb::str>> { return c.as_list(); },
          "A new list of a dict each.");
  nb::class_<ModelCheckpoint>(
      m, "Checkpoint",
      "The world of a model as it is: random generators, attributes, classes, hooks and buffers of its modules,\n"
      "gradients and flags of its tensors, what its code can name. `written`: tensors whose contents may change.")
      .def(nb::init<nb::object, nb::object, bool>(), nb::arg("model"), nb::arg("written") = nb::tuple(),
           nb::arg("gradients_off") = false)
      .def("restore", &ModelCheckpoint::restore, "Puts everything back and returns the names of what had changed.")
      .def(
          "__enter__", [](ModelCheckpoint& self) -> ModelCheckpoint& { return self; }, nb::rv_policy::reference)
      .def(
          "__exit__", [](ModelCheckpoint& self, nb::handle, nb::handle, nb::handle) { self.restore(); },
          nb::arg("type").none(), nb::arg("error").none(), nb::arg("trace").none());
  m.def("graph_from_text", &graph_from_text, nb::arg("text"));
  m.def("function_name", &function_name, nb::arg("callable"),
        "The name under which calls of a function stand in a graph, or None.");
  m.def(
      "resolve_name", [](const std::string& name) { return Any(resolve_name(name)); }, nb::arg("name"),
      "The object of a qualified name; imports what it must.");
  m.def(
      "is_user_code", [](nb::handle code) { return is_user_code(reinterpret_cast<PyCodeObject*>(code.ptr())); },
      nb::arg("code"), "Whether it is code of neither torch, Python's own import system nor this package.");
  m.def("validate", &validate_graph, nb::arg("graph"), nb::arg("leaves"), nb::arg("shared_tensors"),
        "The findings about a model's graph, as a list of a dict each.");
  m.def("run_passes", &run_passes, nb::arg("text"), nb::arg("passes"), nb::arg("options"), nb::arg("target"),
        "A graph in .mzir text after these passes, or after the default pipeline.");
  m.def(
      "pass_names",
      [] {
        std::vector<std::string> names;
        for (const PassInfo& pass : all_passes()) names.emplace_back(pass.name);
        return names;
      },
      "The names of all passes.");
  m.def(
      "passive_operations",
      []() -> ListOf<nb::str> {
        std::set<std::string> names;
        for (const PassiveRow& row : passive_rows())
          if (!is_kept_computation(row.reason)) {
            std::string_view name = row.call.substr(row.call.rfind('.') + 1);
            while (name.starts_with("_")) name.remove_prefix(1);
            while (name.ends_with("_")) name.remove_suffix(1);
            names.emplace(name);
          }
        nb::list out;
        for (const std::string& name : names) out.append(name);
        return out;
      },
      "The names of operations that compute no floating-point values, without their homes: \"view\", \"arange\".");
  m.def(
      "runtime_calls",
      []() -> ListOf<TupleOf<nb::str, nb::bool_>> {
        nb::list out;
        for (const RuntimeCall& call : runtime_calls())
          out.append(nb::make_tuple(std::string(call.name), call.form != RuntimeForm::capture));
        return out;
      },
      "The functions of modulize that graphs and generated source name, and whether Python has them.");
  m.def(
      "functions_that_act", [] { return functions_that_act(); },
      "The qualified names of functions that are called for what they do: nothing reads what they yield.");
  m.def("is_known_operation", &is_known_operation, nb::arg("call"), "Whether the op table itself maps the call.");
  m.def("register_operation", &register_operation, nb::arg("function").none(), nb::arg("call"), nb::arg("module"),
        nb::arg("base"), "Makes later calls of `function`, recorded as `call`, calls of a new `module()`.");

  m.def(
      "register_target",
      [](std::string name, bool names_as_torch_fx, const std::vector<std::pair<std::string, std::string>>& classes) {
        register_target(std::move(name), names_as_torch_fx ? NamingRule::torch_fx : NamingRule::local, classes);
      },
      nb::arg("name"), nb::arg("names_as_torch_fx"), nb::arg("classes"),
      "Adds or replaces a target: pairs of an operation of the table and a class (core/ops/target.h has the form).");
  m.def(
      "prepare",
      [](nb::handle model, nb::object example_inputs, nb::object example_kwargs, nb::object concrete_args,
         nb::object modules_to_exclude, nb::object module_classes_to_exclude, nb::object functions_to_exclude,
         const std::string& on_dynamic, const std::string& target, bool layout_modules, bool tie_parameters,
         bool decompose_attention, bool idioms, nb::object plain_outputs, bool plain_sizes, bool keep_blocks,
         std::optional<std::string> keep_root, bool prepare_inner, bool verify,
         bool verify_each) -> TupleOf<Any, Record> {
        CaptureOptions options{std::move(example_inputs),
                               std::move(example_kwargs),
                               std::move(concrete_args),
                               std::move(modules_to_exclude),
                               std::move(module_classes_to_exclude),
                               std::move(functions_to_exclude),
                               on_dynamic,
                               std::move(plain_outputs),
                               decompose_attention,
                               keep_blocks};
        options.spell_operators = names_as_torch_fx(target);
        options.keep_root = std::move(keep_root);
        options.prepares_inner = prepare_inner;
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
      "idioms",
      []() -> ListOf<TupleOf<nb::str, nb::str>> {
        nb::list out;
        for (const Idiom& idiom : idioms())
          out.append(nb::make_tuple(nb::str(idiom.name.data(), idiom.name.size()),
                                    nb::str(idiom.text.data(), idiom.text.size())));
        return out;
      },
      "The compositions that idioms=True recognises: a list of (name, graph in .mzir text).");
  m.def(
      "log_categories",
      []() -> ListOf<TupleOf<nb::str, nb::str>> {
        nb::list out;
        for (const LogCategoryRow& row : kLogCategories)
          out.append(nb::make_tuple(std::string(row.name), std::string(row.text)));
        return out;
      },
      "What MODULIZE_LOG can name: a list of (category, what it tells).");
  m.def(
      "capture_reasons",
      []() -> ListOf<TupleOf<nb::str, nb::str>> {
        nb::list out;
        for (const CaptureReasonRow& row : kCaptureReasons)
          out.append(nb::make_tuple(std::string(row.said), std::string(row.text)));
        return out;
      },
      "Why preparations capture: a list of (reason, what it means).");
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
  m.def(
      "pipeline",
      [](const Graph& graph, const std::string& target, bool layout_modules) {
        Graph out = graph;
        PipelineOptions options;
        options.target = target;
        options.layout_modules = layout_modules;
        options.verify_each = true;
        run_pipeline(out, options, nullptr);
        return out;
      },
      nb::arg("graph"), nb::arg("target") = "torch", nb::arg("layout_modules") = false,
      "The graph after the default passes.");
}
