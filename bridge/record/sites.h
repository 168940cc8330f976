// Places in code that is kept whole that compute: each gets a module of its own, to which a torch function mode
// (modulize._runtime.Sites) hands the call when the prepared model runs that code.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bridge/record/function_names.h"
#include "passes/pipeline.h"

namespace modulize {

/// One call of torch as the code makes it. Calls alike in all of this are one site.
struct KeptSite {
  std::string file;  // without folders
  std::string function;
  int first_line = 0;  // of the function
  int instruction = 0;
  std::string name;  // __name__ of what is called
  CallName call;
  std::size_t positional = 0;
  std::vector<std::string> keywords;
  std::string where;  // "file:line"
  bool operator==(const KeptSite& other) const {
    return instruction == other.instruction && first_line == other.first_line && name == other.name &&
           function == other.function && file == other.file && positional == other.positional &&
           keywords == other.keywords;
  }
};

/// By region: the text that its `enter` node names, which is the same in all captures of a model.
using KeptSites = std::map<std::string, std::vector<KeptSite>>;

/// Adds those of `more` that are not in `sites`.
void merge_sites(KeptSites& sites, const KeptSites& more);

inline constexpr const char* kSitesContext = "modulize._runtime.Sites";

/// Gives every region of `graph` modules for its sites, one for each that the op table has a module for; regions
/// without any are dissolved. The graph is as captured: no pass has run.
void lower_sites(Graph& graph, const KeptSites& sites, const PipelineOptions& options,
                 std::vector<Conversion>& conversions);

}  // namespace modulize
