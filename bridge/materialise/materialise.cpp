#include "bridge/materialise/materialise.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>

#include "bridge/materialise/module_types.h"
#include "bridge/materialise/new_modules.h"
#include "bridge/materialise/program.h"
#include "bridge/materialise/shallow_clone.h"
#include "bridge/materialise/tree_queries.h"
#include "bridge/python/errors.h"
#include "bridge/python/gc_pause.h"
#include "bridge/python/typed.h"
#include "codegen/codegen.h"
#include "ir/namer.h"
#include "ir/parser.h"

namespace modulize {

namespace {

nb::object prepared_py() { return nb::module_::import_("modulize._prepared"); }

// The modules of the original that graphs stand for, with the classes of what stands in their places.
void collect_blocks(PyObject* root, const Graph& graph, TreeClone::Classes& classes) {
  for (const ModuleSpec& spec : graph.modules.modules()) {
    if (spec.kind != ModuleKind::graph) continue;
    PyObject* const module = find_module(root, spec.path);
    if (!module) continue;
    if (!classes.count(module)) classes.emplace(module, prepared_class_of(module));
    collect_blocks(module, *spec.graph, classes);
  }
}

// Makes the modules that graphs stand for callable: those of the tree have their class already and keep their children,
// others are new. `copies`: of the outermost tree.
void prepare_blocks(nb::handle root, const Graph& graph, NewModules& modules, NewModules& copies) {
  const nb::object py = prepared_py();
  for (const ModuleSpec& spec : graph.modules.modules()) {
    if (spec.kind != ModuleKind::graph) continue;
    nb::object inner;
    if (PyObject* const known = find_module(root.ptr(), spec.path)) {
      inner = nb::borrow(known);
    } else {
      inner = spec.copy_of.empty() ? py.attr("new_prepared")(spec.graph->name) : copies.copy_block(spec);
      modules.add_child(spec.path, inner);
      check(PyObject_SetAttrString(inner.ptr(), "training", spec.training ? Py_True : Py_False));
    }
    py.attr("initialise")(inner);
    NewModules inside(inner, modules.objects());
    prepare_blocks(inner, *spec.graph, inside, copies);
  }
}

// Turns `root`, a module of the cloned tree whose class is a PreparedModule already, into the prepared model of
// `graph`.
void install(nb::handle root, std::shared_ptr<const Graph> graph, const std::vector<nb::object>& objects,
             const std::map<std::string, nb::object>& constants, bool is_outermost = true) {
  NewModules modules(root, objects);
  for (const auto& [path, tensor] : constants) modules.add_constant(path, tensor);
  const nb::object py = prepared_py();
  // Before what stands in them, and before any program asks what the tree looks like.
  if (is_outermost) prepare_blocks(root, *graph, modules, modules);
  std::vector<const ModuleSpec*> branches;
  for (const ModuleSpec& spec : graph->modules.modules()) {
    modules.add(spec);
    if (spec.kind == ModuleKind::branch) branches.push_back(&spec);
  }
  for (const ModuleSpec& spec : graph->modules.modules())
    if (spec.kind == ModuleKind::graph)
      install(nb::handle(find_module(root.ptr(), spec.path)), spec.graph, objects, {}, false);
  // Their programs ask what the whole tree looks like.
  std::vector<nb::object> made;
  for (const ModuleSpec* spec : branches) {
    made.push_back(prepared_py().attr("Branch")());
    modules.add_child(spec->path, made.back());
    check(PyObject_SetAttrString(made.back().ptr(), "training", nb::object(root.attr("training")).ptr()));
  }
  for (std::size_t i = 0; i < branches.size(); ++i)
    prepared_py().attr("install_branch")(made[i], root, Program(branches[i]->graph, objects, root),
                                         Program(branches[i]->graph_else, objects, root));
  Program program(std::move(graph), objects, root);
  prepared_py().attr("install")(root, std::move(program));
}

}  // namespace

nb::object materialise(const Capture& capture, std::shared_ptr<const Graph> graph) {
  const GcPause pause;
  const ModuleTypes& types = ModuleTypes::instance();
  if (!types.is_module(capture.root.ptr()))
    throw Error(ErrorCode::ArgumentError,
                std::string("the model must be a torch.nn.Module, not ") + Py_TYPE(capture.root.ptr())->tp_name);
  TreeClone::Classes classes{{capture.root.ptr(), prepared_class_of(capture.root.ptr())}};
  collect_blocks(capture.root.ptr(), *graph, classes);
  TreeClone tree(capture.root, classes);
  prepared_py().attr("initialise")(tree.root());
  note_own_ties(tree);
  std::vector<nb::object> objects;
  for (std::size_t i = 0; i < capture.objects.size(); ++i)
    objects.push_back(tree.rebound_object(capture.objects[static_cast<ObjectId>(i)]));
  nb::object prepared = tree.root();
  install(prepared, std::move(graph), objects, capture.constants);
  nb::dict report;
  nb::dict shared;
  for (const TreeClone::Shared& entry : tree.shared()) shared[nb::cast(entry.path)] = nb::cast(entry.reason);
  report["shared"] = shared;
  check(PyDict_SetItemString(instance_dict(prepared.ptr()).ptr(), "_modulize", report.ptr()));
  return prepared;
}

void bind_materialise(nb::module_& m) {
  bind_program(m);
  m.def(
      "materialise_text",
      [](const std::string& text, nb::object root, nb::handle objects,
         const std::map<std::string, nb::object>& constants) {
        Capture capture;
        capture.graph = parse(text);
        capture.root = std::move(root);
        for (const nb::handle object : objects) capture.objects.add(object);
        capture.constants = constants;
        return Any(materialise(capture, std::make_shared<const Graph>(capture.graph)));
      },
      nb::arg("text"), nb::arg("root"), nb::arg("objects") = nb::make_tuple(),
      nb::arg("constants") = std::map<std::string, nb::object>(),
      "The prepared model of a graph in .mzir text over the tree of `root`.");
  m.def(
      "generate_text",
      [](const std::string& text, const std::string& access, std::size_t chunk_lines) {
        CodegenOptions options;
        options.access = access == "attribute" ? ModuleAccess::attribute : ModuleAccess::lookup;
        options.chunk_lines = chunk_lines;
        return generate(parse(text), options).text();
      },
      nb::arg("text"), nb::arg("access") = "lookup", nb::arg("chunk_lines") = 2000,
      "The generated source of a graph in .mzir text; `access` is 'lookup' or 'attribute'.");
}

}  // namespace modulize
