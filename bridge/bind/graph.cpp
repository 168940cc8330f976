// Graphs and passes for Python.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bridge/bind/init.h"
#include "bridge/python/errors.h"
#include "bridge/python/typed.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
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

Graph graph_from_text(const std::string& text) { return parse(text); }

}  // namespace

void init_graph(nb::module_& m) {
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
  m.def("graph_from_text", &graph_from_text, nb::arg("text"));
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

}  // namespace modulize
