#include "explore/difference.h"

#include "ir/control.h"

namespace modulize {

namespace {

constexpr std::int32_t kNone = -1;

bool same_shape(const Value& x, const Value& y) {
  if (x.kind() != y.kind()) return false;
  switch (x.kind()) {
    case ValueKind::tuple:
    case ValueKind::list:
    case ValueKind::slice:
      return x.items().size() == y.items().size();
    case ValueKind::dict:
      if (x.dict_items().size() != y.dict_items().size()) return false;
      for (std::size_t i = 0; i < x.dict_items().size(); ++i)
        if (!(x.dict_items()[i].first == y.dict_items()[i].first)) return false;
      return true;
    default:
      return false;
  }
}

/// A bracket is aligned with all that it holds, or not at all: its three nodes and what lies between them.
void keep_brackets_whole(const Graph& graph, const std::vector<NodeId>& order, std::vector<std::int32_t>& partner,
                         std::vector<std::int32_t>& back) {
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (is_call_of(graph[order[i]], kBeginIf)) open.push_back(i);
    if (!is_call_of(graph[order[i]], kEndIf)) continue;
    const std::size_t begin = open.back();
    open.pop_back();
    bool whole = true;
    for (std::size_t k = begin; k <= i; ++k)
      whole &= partner[k] != kNone && partner[k] - partner[begin] == static_cast<std::int32_t>(k - begin);
    if (whole) continue;
    for (std::size_t k = begin; k <= i; ++k) {
      if (partner[k] != kNone) back[static_cast<std::size_t>(partner[k])] = kNone;
      partner[k] = kNone;
    }
  }
}

bool is_result(const Graph& graph, const Node& node) {
  return node.target == "operator.getitem" && node.args.size() == 2 && node.args[0].is_node() &&
         is_call_of(graph[node.args[0].as_node()], kEndIf);
}

/// What a bracket gives out is the same only if the brackets are, and if it is the same item.
void keep_results_with_brackets(Alignment& al, const Graph& first, const Graph& other) {
  std::unordered_map<NodeId, NodeId> partner;
  for (std::size_t i = 0; i < al.first.size(); ++i) {
    const std::int32_t j = al.partner_of_first[i];
    if (j == kNone) continue;
    const NodeId a = al.first[i], b = al.second[static_cast<std::size_t>(j)];
    const bool result = is_result(first, first[a]), other_result = is_result(other, other[b]);
    if (result || other_result) {
      const auto it = result ? partner.find(first[a].args[0].as_node()) : partner.end();
      if (!result || !other_result || it == partner.end() || it->second != other[b].args[0].as_node() ||
          !(first[a].args[1] == other[b].args[1])) {
        al.partner_of_first[i] = kNone;
        al.partner_of_second[static_cast<std::size_t>(j)] = kNone;
        continue;
      }
    }
    partner[a] = b;
  }
}

Alignment aligned(const Graph& first, const Graph& other) {
  std::optional<Alignment> found = align(first, other);
  if (!found) throw MergeFailure{"the two sides of a decision have too little in common"};
  if (found->partner_of_first.empty() || found->partner_of_first.back() == kNone)
    throw MergeFailure{"one side of a decision has no output"};
  keep_brackets_whole(first, found->first, found->partner_of_first, found->partner_of_second);
  keep_brackets_whole(other, found->second, found->partner_of_second, found->partner_of_first);
  keep_results_with_brackets(*found, first, other);
  return std::move(*found);
}

/// Finds the differences of one variant.
class Comparer {
 public:
  Comparer(Differences& out, std::size_t variant)
      : out_(out), variant_(variant), first_(out.first), other_(*out.variants[variant].graph) {}

  void run() {
    const Alignment& al = out_.alignments.emplace_back(aligned(first_, other_));
    auto& partner = out_.partners.emplace_back();
    for (std::size_t j = 0; j < al.second.size(); ++j)
      if (al.partner_of_second[j] != kNone)
        partner[al.second[j]] = al.first[static_cast<std::size_t>(al.partner_of_second[j])];

    const std::int32_t n = static_cast<std::int32_t>(al.first.size());
    std::int32_t i = 0, j = 0;
    while (i < n) {
      const NodeId a = al.first[static_cast<std::size_t>(i)], b = al.second[static_cast<std::size_t>(j)];
      if (al.partner_of_first[static_cast<std::size_t>(i)] == j) {
        compare_arguments(a, b);
        ++i, ++j;
        continue;
      }
      Hunk hunk{variant_, i, i, j, j, condition(a, b)};
      while (al.partner_of_first[static_cast<std::size_t>(i)] == kNone) ++i;
      j = al.partner_of_first[static_cast<std::size_t>(i)];
      hunk.end = i, hunk.other_end = j;
      out_.hunks.push_back(std::move(hunk));
    }
  }

 private:
  Condition condition(NodeId a, NodeId b) const { return out_.variants[variant_].condition(a, b); }

  void compare_arguments(NodeId a, NodeId b) {
    const Node &x = first_[a], &y = other_[b];
    Place place{a, {}};
    for (std::uint32_t i = 0; i < x.args.size(); ++i) {
      place.path.assign(1, i);
      compare_values(place, b, x.args[i], y.args[i]);
    }
    for (std::uint32_t i = 0; i < x.kwargs.size(); ++i) {
      place.path.assign(1, static_cast<std::uint32_t>(x.args.size()) + i);
      compare_values(place, b, x.kwargs[i].second, y.kwargs[i].second);
    }
  }

  void compare_values(Place& place, NodeId b, const Value& x, const Value& y) {
    if (x.is_node() && y.is_node()) {
      const auto& partner = out_.partners[variant_];
      const auto it = partner.find(y.as_node());
      if (it != partner.end() && it->second == x.as_node()) return;
    } else if (!x.has_node() && !y.has_node() && x == y) {
      return;
    } else if (same_shape(x, y)) {
      const bool is_dict = x.is(ValueKind::dict);
      const std::size_t count = is_dict ? x.dict_items().size() : x.items().size();
      for (std::uint32_t i = 0; i < count; ++i) {
        place.path.push_back(i);
        if (is_dict)
          compare_values(place, b, x.dict_items()[i].second, y.dict_items()[i].second);
        else
          compare_values(place, b, x.items()[i], y.items()[i]);
        place.path.pop_back();
      }
      return;
    }
    if (first_[place.node].op == Opcode::placeholder) throw MergeFailure{"the defaults of the arguments differ"};
    out_.changes[place].push_back({variant_, y, condition(place.node, b)});
  }

  Differences& out_;
  const std::size_t variant_;
  const Graph &first_, &other_;
};

}  // namespace

const Value& argument_at(const Node& node, const std::vector<std::uint32_t>& path) {
  const Value* value =
      path[0] < node.args.size() ? &node.args[path[0]] : &node.kwargs[path[0] - node.args.size()].second;
  for (std::size_t i = 1; i < path.size(); ++i)
    value = value->is(ValueKind::dict) ? &value->dict_items()[path[i]].second : &value->items()[path[i]];
  return *value;
}

Differences::Differences(const Graph& first, const std::vector<Variant>& variants) : first(first), variants(variants) {
  for (const NodeId id : first.order()) {
    position[id] = static_cast<std::int32_t>(order.size());
    order.push_back(id);
  }
}

Ref Differences::resolved(std::size_t g, NodeId node) const {
  if (g > 0)
    if (const auto it = partners[g - 1].find(node); it != partners[g - 1].end()) return {0, it->second};
  return {g, node};
}

bool Differences::has_changes(NodeId node) const {
  const auto it = changes.lower_bound({node, {}});
  return it != changes.end() && it->first.node == node;
}

Differences find_differences(const Graph& first, const std::vector<Variant>& variants) {
  Differences out(first, variants);
  for (std::size_t v = 0; v < variants.size(); ++v) Comparer(out, v).run();
  return out;
}

}  // namespace modulize
