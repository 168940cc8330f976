#include "bridge/materialise/program.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cctype>
#include <limits>

#include "bridge/materialise/module_types.h"
#include "bridge/materialise/tree_queries.h"
#include "bridge/python/names.h"
#include "bridge/python/typed.h"
#include "ir/namer.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "support/error.h"

namespace modulize {

namespace {

// Not `<...>`: linecache looks no further for a name that ends in `>`.
std::string new_file_name(const std::string& graph_name) {
  static std::atomic<unsigned long> next{0};
  std::string name = "<modulize>.";
  for (const char c : graph_name) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name + "." + std::to_string(next++);
}

PyObject* line_cache() {
  static PyObject* const cache = nb::object(nb::module_::import_("linecache").attr("cache")).release().ptr();
  return cache;
}

}  // namespace

Program::Shared::~Shared() {
  if (!Py_IsInitialized() || file_names.empty()) return;
  PyObject *type, *value, *trace;  // an error may be on its way while we are destroyed
  PyErr_Fetch(&type, &value, &trace);
  for (const std::string& name : file_names) {
    if (PyDict_DelItemString(line_cache(), name.c_str()) < 0) PyErr_Clear();  // linecache.clearcache() was called
  }
  PyErr_Restore(type, value, trace);
}

Program::Program(std::shared_ptr<const Graph> graph, std::vector<nb::object> objects, nb::handle root,
                 ModuleAccess access)
    : graph_(std::move(graph)), objects_(std::move(objects)), shared_(std::make_shared<Shared>()) {
  shared_->access = access;
  CodegenOptions options;
  options.access = access;
  options.tree = tree_queries(root, /*for_reading=*/false);
  options.replayed_by_tracers = true;
  GeneratedSource& generated = shared_->generated;
  generated = generate(*graph_, options);
  for (const std::string& name : generated.names) resolve_name(name);
  for (const auto& [name, id] : generated.objects) {
    if (id >= objects_.size())
      throw Error(ErrorCode::ModulizeError, "the graph names object @" + std::to_string(id) + ", but only " +
                                                std::to_string(objects_.size()) + " objects are given");
  }
  for (const std::string& piece : generated.pieces) {
    std::string file = new_file_name(graph_->name);
    const nb::object text = make_text(piece);
    shared_->codes.push_back(
        checked(Py_CompileStringObject(piece.c_str(), make_text(file).ptr(), Py_file_input, nullptr, /*optimize=*/-1)));
    // A lazy entry: a function that returns the source. Tracebacks show our lines.
    const nb::object entry = nb::make_tuple(text.attr("__str__"));
    check(PyDict_SetItemString(line_cache(), file.c_str(), entry.ptr()));
    shared_->file_names.push_back(std::move(file));
  }
  shared_->text = generated.text();
}

Program::Program(const Program& other, std::vector<nb::object> objects)
    : graph_(other.graph_), objects_(std::move(objects)), shared_(other.shared_) {}

nb::object Program::make_forward() const {
  const GeneratedSource& generated = shared_->generated;
  nb::dict space;
  space["__builtins__"] = nb::borrow(PyEval_GetBuiltins());
  for (const std::string& name : generated.imports) space[name.c_str()] = resolve_name(name);
  for (const auto& [name, id] : generated.objects) space[name.c_str()] = objects_[id];
  for (const auto& [name, meaning] : generated.aliases) space[name.c_str()] = resolve_name(meaning);
  for (const nb::object& code : shared_->codes) checked(PyEval_EvalCode(code.ptr(), space.ptr(), space.ptr()));
  return space["forward"];
}

std::string Program::readable_source(nb::handle root) const {
  CodegenOptions options;
  options.access = ModuleAccess::attribute;
  options.tree = tree_queries(root, /*for_reading=*/true);
  return generate(*graph_, options).text();
}

nb::dict Program::exported_source(nb::handle root, std::vector<std::pair<std::string, std::string>> spellings,
                                  nb::handle shown_file) const {
  CodegenOptions options;
  options.access = ModuleAccess::attribute;
  options.tree = tree_queries(root, /*for_reading=*/true);
  options.chunk_lines = std::numeric_limits<std::size_t>::max();
  options.spellings = std::move(spellings);
  options.shown_file = [shown_file](const std::string& file) { return text_of(shown_file(make_text(file))); };
  const GeneratedSource source = generate(*graph_, options);
  nb::list lines;
  std::string_view rest = source.pieces[0];
  for (std::size_t i = 0; !rest.empty(); ++i) {
    const std::size_t end = rest.find('\n');
    const NodeId id = i == 0 || i > source.line_nodes[0].size() ? kNoNode : source.line_nodes[0][i - 1];
    const Source& place = graph_->source(id == kNoNode ? kNoSource : (*graph_)[id].source);
    const std::string& scope = graph_->scope(id == kNoNode ? kRootScope : (*graph_)[id].scope).path;
    lines.append(nb::make_tuple(make_text(rest.substr(0, end)), make_text(place.file), place.line, make_text(scope)));
    rest.remove_prefix(std::min(end, rest.size() - 1) + 1);
  }
  nb::dict out;
  out["lines"] = lines;
  out["imports"] = nb::cast(source.imports);
  out["names"] = nb::cast(source.names);
  out["objects"] = nb::cast(source.objects);
  out["aliases"] = nb::cast(source.aliases);
  return out;
}

std::string Program::text() const { return print(*graph_); }

namespace {

int program_traverse(PyObject* self, visitproc visit, void* arg) {
#if PY_VERSION_HEX >= 0x03090000
  Py_VISIT(Py_TYPE(self));
#endif
  if (!nb::inst_ready(self)) return 0;
  for (const nb::object& object : nb::inst_ptr<Program>(self)->objects()) Py_VISIT(object.ptr());
  return 0;
}

int program_clear(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<Program>(self)->clear_objects();
  return 0;
}

PyType_Slot program_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(program_traverse)},
                               {Py_tp_clear, reinterpret_cast<void*>(program_clear)},
                               {0, nullptr}};

std::vector<nb::object> object_list(nb::handle objects) {
  std::vector<nb::object> list;
  for (const nb::handle object : objects) list.push_back(nb::borrow(object));
  return list;
}

}  // namespace

void bind_program(nb::module_& m) {
  nb::class_<Program>(m, "Program", nb::type_slots(program_slots),
                      "The program of a prepared model: graph, generated source, opaque objects.")
      .def(
          "__init__",
          [](Program* self, const std::string& text, nb::handle objects, nb::handle root, bool by_attributes) {
            new (self) Program(std::make_shared<const Graph>(parse(text)), object_list(objects), root,
                               by_attributes ? ModuleAccess::attribute : ModuleAccess::lookup);
          },
          nb::arg("text"), nb::arg("objects"), nb::arg("root"), nb::arg("by_attributes") = false)
      .def("with_attribute_access", &Program::with_attribute_access, nb::arg("root"),
           "The same program, whose source reaches modules by attributes.")
      .def_prop_ro(
          "by_attributes", [](const Program& self) { return self.access() == ModuleAccess::attribute; },
          "Whether the source reaches modules by attributes.")
      .def(
          "with_objects", [](const Program& self, nb::handle objects) { return Program(self, object_list(objects)); },
          nb::arg("objects"), "The same program over other objects.")
      .def_prop_ro("text", &Program::text, "The graph as .mzir text.")
      .def_prop_ro(
          "graph", [](const Program& self) { return Graph(self.graph()); }, "A copy of the graph.")
      .def_prop_ro("objects",
                   [](const Program& self) -> ListOf<Any> {
                     nb::list list;
                     for (const nb::object& object : self.objects()) list.append(object);
                     return list;
                   })
      .def_prop_ro("parameter_kinds",
                   [](const Program& self) -> ListOf<nb::str> {
                     nb::list kinds;
                     for (const ParameterKind kind : self.graph().parameter_kinds)
                       kinds.append(nb::cast(std::string(parameter_kind_name(kind))));
                     return kinds;
                   })
      .def_prop_ro("source", &Program::source, "The source that runs.")
      .def("readable_source", &Program::readable_source, nb::arg("root"), "The source as a person reads it.")
      .def(
          "targets",
          [](const Program& self, const std::string& op) -> ListOf<nb::str> {
            nb::dict targets;  // a set that keeps the order
            for (const NodeId id : self.graph().order()) {
              const Node& node = self.graph()[id];
              if (opcode_name(node.op) == op) targets[make_text(node.target)] = nb::none();
              // What a module has besides tensors is read through the module.
              if (op == "get_attr" && node.target == "builtins.getattr" && node.args.size() == 2 &&
                  node.args[0].is_node() && node.args[1].is(ValueKind::string)) {
                const Node& owner = self.graph()[node.args[0].as_node()];
                if (owner.op == Opcode::get_attr)
                  targets[make_text(join_path(owner.target, node.args[1].text()))] = nb::none();
              }
            }
            return nb::list(targets);
          },
          nb::arg("op"), "What the nodes of an opcode name, each once; for get_attr with what they lead to.")
      .def(
          "exported_source",
          [](const Program& self, nb::handle root, std::vector<std::pair<std::string, std::string>> spellings,
             nb::handle shown_file) { return Record(self.exported_source(root, std::move(spellings), shown_file)); },
          nb::arg("root"), nb::arg("spellings"), nb::arg("shown_file"),
          "The source for a file of its own: its lines with their places, and what they need.\n"
          "`shown_file(file)`: what a check calls a file.")
      .def(
          "make_forward", [](const Program& self) { return Any(self.make_forward()); },
          "A new forward function in a namespace of its own.")
      .def(
          "make_fx_graph", [](const Program& self, nb::handle owner) { return Any(self.make_fx_graph(owner)); },
          nb::arg("owner"), "A new torch.fx.Graph of the program.");
}

}  // namespace modulize
