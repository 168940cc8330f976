// Places in code that is kept whole that compute, in a flat graph: the region around the code names them.
//
//   %enter = call_function modulize._runtime.enter('modulize._runtime.Sites', %root, 'forward',
//       (('net.py', 'forward', 7, 24, 'relu', 'function', 'torch.relu', 1, (), 'net.py:8'),))
//     the call of the code
//   %leave = call_function modulize._runtime.leave(%enter)
//
// The third argument names the region, the fourth has one entry a site with the fields of KeptSite in their order.
// `kept_calls_to_modules` gives the sites modules and writes, in place of the two, what modulize._runtime.Sites takes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// True for the node that enters such a region, whether or not its sites have modules by now.
bool enters_kept_code(const Node& node);

/// One call of torch as the code makes it. Calls alike in all but `is_method`, `target` and `where` are one site.
struct KeptSite {
  std::string file;  // without folders
  std::string function;
  std::int64_t first_line = 0;  // of the function
  std::int64_t instruction = 0;
  std::string name;        // __name__ of what is called
  bool is_method = false;  // call_method of `target`, or call_function
  std::string target;
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

/// Gives each region of a captured graph its sites, as the fourth argument.
void write_sites(Graph& graph, const KeptSites& sites);

/// What write_sites gave the region. Nothing if `node` enters none, or has no sites or modules for them already.
std::optional<std::vector<KeptSite>> kept_sites(const Node& node);

}  // namespace modulize
