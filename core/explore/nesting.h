// How the stretches in which captures differ stand in one another, and which values leave them.
#pragma once

#include <map>

#include "explore/difference.h"

namespace modulize {

/// Sorts the hunks: outermost first; of two equal intervals the earlier decision's is the outer one; insertions before
/// what begins there. Throws MergeFailure where two overlap.
void nest(std::vector<Hunk>& hunks);

/// Of nested hunks. Borrows them.
class Nesting {
 public:
  explicit Nesting(const Differences& differences);

  /// The hunk that the variant's node stands in; null if it has a partner in the first graph.
  const Hunk* hunk_of(const Ref& ref) const;
  /// Is the node read at `position` of the first graph or behind it? By a variant too, whose nodes read where their
  /// hunk ends.
  bool is_read_from(const Ref& ref, std::int32_t position) const;

 private:
  void use(Ref ref, std::int32_t at);
  void use_in_hunk(const Hunk& hunk);

  const Differences& differences_;
  std::map<Ref, const Hunk*> hunk_of_;
  std::map<Ref, std::int32_t> last_use_;
};

}  // namespace modulize
