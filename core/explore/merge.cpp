// Each variant is aligned with the first graph; a stretch that has no partner is a hunk (difference.h). Hunks are
// intervals over the positions of the first graph, and all of them together must nest (nesting.h). One walk over the
// first graph writes the merged one (emit.h).
#include "explore/merge.h"

#include "explore/difference.h"
#include "explore/emit.h"
#include "explore/nesting.h"
#include "ir/control.h"
#include "ir/verifier.h"
#include "support/error.h"

namespace modulize {

std::optional<Merged> merge(const Graph& first, const std::vector<Variant>& variants,
                            const std::vector<Requirement>& requirements, std::string* why) {
  try {
    Differences differences = find_differences(first, variants);
    nest(differences.hunks);
    Merged out = emit(differences, Nesting(differences), requirements);
    verify(out.graph);  // a branch may not cut a region in two
    return out;
  } catch (const Error& error) {
    if (why) *why = error.what();
    return std::nullopt;
  } catch (const MergeFailure& failure) {
    if (why) *why = failure.why;
    return std::nullopt;
  }
}

void simplify_selections(Graph& graph) {
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (!is_call_of(node, kSelect) || !(node.args[1] == Value::boolean(true)) ||
        !(node.args[2] == Value::boolean(false)))
      continue;
    const Value flag = node.args[0];
    if (!flag.is_node() || graph[flag.as_node()].op != Opcode::get_attr) continue;
    graph.replace_uses(id, flag);
    graph.erase(id);
  }
}

}  // namespace modulize
