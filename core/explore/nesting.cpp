#include "explore/nesting.h"

#include <algorithm>

namespace modulize {

void nest(std::vector<Hunk>& hunks) {
  std::stable_sort(hunks.begin(), hunks.end(), [](const Hunk& x, const Hunk& y) {
    if (x.begin != y.begin) return x.begin < y.begin;
    const bool empty_x = x.begin == x.end, empty_y = y.begin == y.end;
    if (empty_x != empty_y) return empty_x;
    return x.end > y.end;
  });
  std::vector<std::int32_t> ends;
  for (const Hunk& hunk : hunks) {
    if (hunk.begin == hunk.end) continue;
    while (!ends.empty() && ends.back() <= hunk.begin) ends.pop_back();
    if (!ends.empty() && ends.back() < hunk.end) throw MergeFailure{"what two decisions change overlaps"};
    ends.push_back(hunk.end);
  }
}

Nesting::Nesting(const Differences& differences) : differences_(differences) {
  for (const Hunk& hunk : differences.hunks)
    for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j)
      hunk_of_[{hunk.variant + 1, differences.alignments[hunk.variant].second[static_cast<std::size_t>(j)]}] = &hunk;
  for (const NodeId id : differences.order)
    differences.first[id].for_each_input([&](NodeId in) { use({0, in}, differences.position.at(id)); });
  for (const auto& [place, changes] : differences.changes) {
    const std::int32_t at = differences.position.at(place.node);
    for (const Change& change : changes) {
      change.other.for_each_node([&](NodeId in) { use({change.variant + 1, in}, at); });
      if (change.condition.decision != kNoNode) use({0, change.condition.decision}, at);
    }
  }
  for (const Hunk& hunk : differences.hunks) use_in_hunk(hunk);
}

void Nesting::use(Ref ref, std::int32_t at) {
  std::int32_t& last = last_use_[differences_.resolved(ref.graph, ref.node)];
  last = std::max(last, at);
}

// Inside its own hunk a use is no late one, and a hunk's place is the end of what it replaces.
void Nesting::use_in_hunk(const Hunk& hunk) {
  const Graph& graph = differences_.graph(hunk.variant + 1);
  for (std::int32_t j = hunk.other_begin; j < hunk.other_end; ++j) {
    const NodeId id = differences_.alignments[hunk.variant].second[static_cast<std::size_t>(j)];
    graph[id].for_each_input([&](NodeId in) {
      const Ref ref = differences_.resolved(hunk.variant + 1, in);
      if (ref.graph == 0 || hunk_of(ref) != &hunk) use(ref, hunk.end);
    });
  }
  if (hunk.condition.decision != kNoNode) use({0, hunk.condition.decision}, hunk.begin);
}

const Hunk* Nesting::hunk_of(const Ref& ref) const {
  const auto it = hunk_of_.find(ref);
  return it == hunk_of_.end() ? nullptr : it->second;
}

bool Nesting::is_read_from(const Ref& ref, std::int32_t position) const {
  const auto it = last_use_.find(ref);
  return it != last_use_.end() && it->second >= position;
}

}  // namespace modulize
