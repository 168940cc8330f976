// The program of a prepared model: its graph, the source generated from it, and what the source refers to.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bridge/python/python.h"
#include "codegen/codegen.h"
#include "ir/graph.h"

namespace modulize {

/// Immutable once made: copies of a prepared model share the graph and the compiled code, and differ in `objects` only.
class Program {
 public:
  /// `root`: the live module that paths start from; asked what its tree looks like, not kept. Compiles the source.
  /// Throws Error where a name of the graph cannot be imported.
  Program(std::shared_ptr<const Graph> graph, std::vector<nb::object> objects, nb::handle root,
          ModuleAccess access = ModuleAccess::lookup);
  /// The same program over other objects, of the same number.
  Program(const Program& other, std::vector<nb::object> objects);

  const Graph& graph() const { return *graph_; }
  /// How the source reaches modules. By attributes it does so through tools' wrappers around containers, too.
  ModuleAccess access() const { return shared_->access; }
  Program with_attribute_access(nb::handle root) const {
    return Program(graph_, objects_, root, ModuleAccess::attribute);
  }
  const std::vector<nb::object>& objects() const { return objects_; }

  /// For the garbage collector: the program is unusable afterwards.
  void clear_objects() { objects_.clear(); }

  /// A new function `forward(self, ...)` in a namespace of its own.
  nb::object make_forward() const;
  /// The source that runs.
  const std::string& source() const { return shared_->text; }
  /// The source as a person reads it, for the tree below `root` as it is now.
  std::string readable_source(nb::handle root) const;
  /// The same for a file of its own, as a dict: `lines`, a list of (text, file, line, scope) each; `imports`, `names`,
  /// `objects` and `aliases` as in GeneratedSource. `spellings`: see CodegenOptions.
  nb::dict exported_source(nb::handle root, std::vector<std::pair<std::string, std::string>> spellings,
                           nb::handle shown_file) const;
  /// A new torch.fx.Graph owned by `owner`. In fx_graph.cpp.
  nb::object make_fx_graph(nb::handle owner) const;
  /// The graph as .mzir text.
  std::string text() const;

 private:
  struct Shared {
    ModuleAccess access;
    GeneratedSource generated;
    std::string text;
    std::vector<nb::object> codes;  // one code object a piece
    std::vector<std::string> file_names;
    ~Shared();
  };

  std::shared_ptr<const Graph> graph_;
  std::vector<nb::object> objects_;
  std::shared_ptr<Shared> shared_;
};

/// Defines the class `Program` in `m`: `Program(text, objects, root)` parses .mzir.
void bind_program(nb::module_& m);

}  // namespace modulize
