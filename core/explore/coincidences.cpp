#include "explore/coincidences.h"

#include <algorithm>
#include <optional>

#include "explore/align.h"
#include "ir/control.h"
#include "ops/told_by.h"

namespace modulize {

namespace {

bool is_item(const Node& node) {
  return is_call_of(node, "operator.getitem") && node.args.size() == 2 && node.args[0].is_node();
}

/// The position that the node takes of a sequence.
std::optional<std::size_t> item_of(const Node& node) {
  if (!is_item(node) || !node.args[1].is(ValueKind::integer) || node.args[1].as_integer() < 0) return std::nullopt;
  return static_cast<std::size_t>(node.args[1].as_integer());
}

/// Of which the first size is asked.
bool is_first_size(const Node& node) {
  if (is_length(node)) return true;
  return node.op == Opcode::call_method && (node.target == "numel" || (node.target == "size" && node.args.size() > 1 &&
                                                                       node.args[1] == Value::integer(0)));
}

}  // namespace

Coincidences::Coincidences(const Graph& first, const Numbers& numbers) {
  for (const NodeId id : first.order())
    if (const auto it = numbers.find(id); it != numbers.end())
      if (first[id].type == ValueType::number || first[id].type == ValueType::size)
        first_.emplace(first[id].name, it->second);
}

void Coincidences::compare(const Graph& expected, const Graph& second, const Numbers& numbers) {
  const std::optional<Alignment> found = align(expected, second);
  if (!found) return;
  for (std::size_t i = 0; i < found->first.size(); ++i) {
    if (found->partner_of_first[i] < 0) continue;
    const std::string& name = expected[found->first[i]].name;
    const auto was = first_.find(name);
    if (was == first_.end()) continue;
    const auto is = numbers.find(found->second[static_cast<std::size_t>(found->partner_of_first[i])]);
    if (is == numbers.end()) continue;
    for (std::size_t k = 0; k < std::min(was->second.size(), is->second.size()); ++k)
      if (was->second[k] != is->second[k]) changed_.emplace(name, k);
  }
}

std::vector<Coincidence> Coincidences::left(const Graph& first) const {
  enum class Made : std::uint8_t { of_nothing, of_numbers, of_values };
  std::vector<Made> made(first.id_limit(), Made::of_nothing);
  std::vector<bool> is_found(first.id_limit()), is_read(first.id_limit()), is_read_first(first.id_limit());
  for (const NodeId id : first.order()) {
    const std::optional<std::size_t> position = item_of(first[id]);
    first[id].for_each_input([&](NodeId in) {
      is_read[in] = is_read[in] || !position;
      is_read_first[in] = is_read_first[in] || !position || *position == 0;
    });
  }
  std::vector<Coincidence> out;
  for (const NodeId id : first.order()) {
    const Node& node = first[id];
    const NodeId from = !node.args.empty() && node.args[0].is_node() ? node.args[0].as_node() : kNoNode;
    if (node.type == ValueType::tensor || !first_.contains(node.name)) {
      const std::optional<std::size_t> position = item_of(node);
      is_found[id] = is_sized_by_values(first, node) || (position && is_found[from]);
      if (const auto sizes = position ? first_.find(first[from].name) : first_.end(); sizes != first_.end()) {
        const bool is_first_of_found = *position == 0 && made[from] == Made::of_values;
        made[id] = is_first_of_found                                  ? Made::of_values
                   : changed_.contains({first[from].name, *position}) ? Made::of_numbers
                                                                      : Made::of_nothing;
      }
      continue;
    }
    const std::vector<std::int64_t>& numbers = first_.at(node.name);
    const bool is_size = node.type == ValueType::size;
    if (from != kNoNode && ((is_found[from] && (is_size || is_first_size(node))) ||
                            (node.op == Opcode::call_method && node.target == "item")))
      made[id] = Made::of_values;
    else if (!is_size)
      node.for_each_input([&](NodeId in) {
        made[id] = std::max(made[id], made[in]);
        if (changed_.contains({first[in].name, 0}) && first[in].type == ValueType::number)
          made[id] = std::max(made[id], Made::of_numbers);
      });
    if (made[id] == Made::of_nothing || numbers.empty() || changed_.contains({node.name, 0})) continue;
    if (is_size ? is_read_first[id] : is_read[id] || is_read_first[id]) continue;
    out.push_back({id, is_size, numbers[0], made[id] == Made::of_values});
  }
  return out;
}

}  // namespace modulize
