#include "explore/align.h"

#include <algorithm>
#include <string>
#include <unordered_map>

namespace modulize {

namespace {

/// Equal numbers for nodes that may be the same step.
class Keys {
 public:
  std::vector<std::uint32_t> of(const Graph& graph, const std::vector<NodeId>& order) {
    std::vector<std::uint32_t> keys;
    keys.reserve(order.size());
    std::string text;
    for (const NodeId id : order) {
      const Node& node = graph[id];
      text.assign(opcode_name(node.op));
      text += ' ';
      text += node.target;
      if (node.op != Opcode::output && node.op != Opcode::placeholder) {
        const Scope& scope = graph.scope(node.scope);
        const Source& source = graph.source(node.source);
        text += ' ' + std::to_string(node.args.size());
        for (const auto& [key, value] : node.kwargs) text += ',' + key;
        if (node.callee.is(ValueKind::object)) text += '@' + std::to_string(node.callee.as_object().id);
        text +=
            ' ' + scope.path + '#' + std::to_string(scope.call) + ' ' + source.file + ':' + std::to_string(source.line);
      }
      keys.push_back(numbers_.try_emplace(text, static_cast<std::uint32_t>(numbers_.size())).first->second);
    }
    return keys;
  }

 private:
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

std::vector<NodeId> in_order(const Graph& graph) {
  std::vector<NodeId> out;
  out.reserve(graph.size());
  for (const NodeId id : graph.order()) out.push_back(id);
  return out;
}

}  // namespace

std::optional<Alignment> align(const Graph& first, const Graph& second, std::size_t limit) {
  Alignment out{in_order(first), in_order(second), {}, {}};
  Keys keys;
  const std::vector<std::uint32_t> a = keys.of(first, out.first), b = keys.of(second, out.second);
  out.partner_of_first.assign(a.size(), -1);
  out.partner_of_second.assign(b.size(), -1);
  const auto pair = [&](std::int32_t i, std::int32_t j) {
    out.partner_of_first[static_cast<std::size_t>(i)] = j;
    out.partner_of_second[static_cast<std::size_t>(j)] = i;
  };
  std::int32_t begin = 0, n = static_cast<std::int32_t>(a.size()), m = static_cast<std::int32_t>(b.size());
  while (begin < n && begin < m && a[begin] == b[begin]) pair(begin, begin), ++begin;
  while (n > begin && m > begin && a[n - 1] == b[m - 1]) pair(--n, --m);
  const std::int32_t size_a = n - begin, size_b = m - begin;
  const std::size_t size = static_cast<std::size_t>(size_a) + static_cast<std::size_t>(size_b);
  if (size_a == 0 || size_b == 0) {
    if (size > limit) return std::nullopt;
    return out;
  }

  // Furthest reaching paths: x on diagonal k after d differences; all rounds are kept for the way back.
  const std::int32_t most = static_cast<std::int32_t>(std::min(limit, size));
  std::vector<std::vector<std::int32_t>> rounds;
  std::vector<std::int32_t> x_of(2 * static_cast<std::size_t>(most) + 3, 0);
  const auto at = [&](std::vector<std::int32_t>& v, std::int32_t k) -> std::int32_t& { return v[k + most + 1]; };
  const auto down = [&](std::vector<std::int32_t>& v, std::int32_t k, std::int32_t d) {
    return k == -d || (k != d && at(v, k - 1) < at(v, k + 1));
  };
  std::int32_t found = -1;
  for (std::int32_t d = 0; d <= most && found < 0; ++d) {
    // Only the diagonals that round d reads are kept: -d-1..d+1.
    std::vector<std::int32_t> kept(x_of.begin() + (most - d), x_of.begin() + (most + d + 3));
    rounds.push_back(std::move(kept));
    for (std::int32_t k = -d; k <= d; k += 2) {
      std::int32_t x = down(x_of, k, d) ? at(x_of, k + 1) : at(x_of, k - 1) + 1;
      std::int32_t y = x - k;
      while (x < size_a && y < size_b && a[begin + x] == b[begin + y]) ++x, ++y;
      at(x_of, k) = x;
      if (x >= size_a && y >= size_b) {
        found = d;
        break;
      }
    }
  }
  if (found < 0) return std::nullopt;
  std::int32_t x = size_a, y = size_b;
  for (std::int32_t d = found; d >= 0; --d) {
    const std::vector<std::int32_t>& v = rounds[static_cast<std::size_t>(d)];
    const auto kept = [&](std::int32_t k) { return v[k + d + 1]; };
    const std::int32_t k = x - y;
    const bool from_above = k == -d || (k != d && kept(k - 1) < kept(k + 1));
    const std::int32_t before_k = from_above ? k + 1 : k - 1;
    const std::int32_t before_x = d == 0 ? 0 : kept(before_k);
    // One step down or right, then along the diagonal.
    const std::int32_t start = d == 0 || from_above ? before_x : before_x + 1;
    while (x > start) pair(begin + --x, begin + --y);
    const std::int32_t before_y = before_x - before_k;
    x = before_x, y = before_y;
  }
  return out;
}

}  // namespace modulize
