// The names of one generated source: who holds which, and how a global is spelled where a parameter hides it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "codegen/codegen.h"

namespace modulize {

class SourceNames {
 public:
  /// Takes every parameter's name and every root of a qualified name in the graph, so that no variable hides one.
  /// `spellings`: see CodegenOptions.
  SourceNames(const Graph& graph, std::vector<std::pair<std::string, std::string>> spellings);

  /// A plain identifier that nothing else in the source has, made from any text. Now taken.
  std::string unique(std::string_view wish);

  /// The expression for a Python builtin: `len`, or an alias where a parameter is called so.
  std::string builtin(std::string_view name);
  /// The expression for a qualified name: `torch.nn.functional.relu`, `len` for `builtins.len`, with `getattr` around
  /// what is no identifier. Throws Error where the first part is none.
  std::string qualified(std::string_view name);
  std::string object(ObjectId id);

  /// Moves what was spelled so far into the result: imports, objects, aliases, names; each sorted.
  void write_to(GeneratedSource& source) const;

 private:
  std::string global(std::string_view root, std::string_view meaning);
  /// How a name begins that has a shorter spelling, with `rest` set to what follows; empty where it has none.
  std::string shortened(std::string_view name, std::string_view& rest);

  std::vector<std::pair<std::string, std::string>> spellings_;
  std::unordered_set<std::string> taken_;
  std::unordered_set<std::string> parameters_;
  std::unordered_map<std::string, unsigned> counters_;
  std::unordered_map<std::string, std::string> spelled_;  // qualified name -> expression
  std::map<std::string, std::string> aliases_;
  std::map<std::string, ObjectId> objects_;
  std::map<std::string, bool> imports_, names_;
};

}  // namespace modulize
