#include "ir/blocks.h"

#include <algorithm>

#include "ir/control.h"
#include "ir/regions.h"

namespace modulize {

namespace {

// Brackets as blocks.h has them; a text may have others.
bool is_begin(const Node& node) {
  if (!is_call_of(node, kBeginBlock) || node.args.size() < 2 || !node.args[0].is(ValueKind::string)) return false;
  if (!node.args[1].is(ValueKind::tuple) || node.args.size() != 2 + node.args[1].items().size()) return false;
  const ValueList& signature = node.args[1].items();
  return std::all_of(signature.begin(), signature.end(), [](const Value& entry) {
    return entry.is(ValueKind::tuple) && entry.items().size() >= 2 && entry.items()[0].is(ValueKind::string) &&
           entry.items()[1].is(ValueKind::string);
  });
}
bool is_end(const Node& node) {
  if (!is_call_of(node, kEndBlock) || node.args.size() < 2 || !node.args[0].is_node()) return false;
  if (node.args.size() == 2 || !node.args[2].is(ValueKind::tuple)) return true;
  const ValueList& parts = node.args[2].items();
  return std::all_of(parts.begin(), parts.end(), [](const Value& part) {
    return part.is(ValueKind::tuple) && part.items().size() == 3 &&
           (!(part.items()[0] == Value::string("attribute")) || part.items()[1].is(ValueKind::string));
  });
}

ParameterKind kind_of(std::string_view name) {
  for (int i = 0; i < static_cast<int>(ParameterKind::var_keyword); ++i)
    if (parameter_kind_name(static_cast<ParameterKind>(i)) == name) return static_cast<ParameterKind>(i);
  return ParameterKind::var_keyword;
}

/// May the last parameter stand behind the others? Kinds come in their order, stars and kinds agree, names differ.
bool fits_signature(const std::vector<BlockParameter>& parameters) {
  const BlockParameter& last = parameters.back();
  const std::string_view stars = last.kind == ParameterKind::var_positional ? "*"
                                 : last.kind == ParameterKind::var_keyword  ? "**"
                                                                            : "";
  if (last.name.substr(0, last.name.find_first_not_of('*')) != stars) return false;
  return std::all_of(parameters.begin(), parameters.end() - 1, [&](const BlockParameter& before) {
    return before.name != last.name && before.kind <= last.kind && (before.kind < last.kind || stars.empty());
  });
}

}  // namespace

std::vector<BlockBrackets> nested_blocks(const Graph& graph) {
  std::vector<BlockBrackets> out;
  std::vector<NodeId> open;
  // Calls that are still open then are cut in two.
  const auto close = [&](NodeId opener) {
    const auto it = std::find(open.begin(), open.end(), opener);
    if (it != open.end()) open.erase(it, open.end());
  };
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (is_begin(node) || is_call_of(node, kBeginIf) || is_enter(node)) {
      open.push_back(id);
    } else if (is_call_of(node, kBeginElse)) {
      if (node.args[0].is_node()) close(node.args[0].as_node());
      open.push_back(id);
    } else if (is_call_of(node, kEndIf)) {
      if (node.args[0].is_node()) close(node.args[0].as_node());
    } else if (is_leave(node)) {
      close(region_of_leave(node));
    } else if (is_end(node)) {
      const NodeId begin = node.args[0].as_node();
      while (!open.empty() && open.back() != begin && is_call_of(graph[open.back()], kBeginBlock)) open.pop_back();
      if (!open.empty() && open.back() == begin && is_begin(graph[begin])) out.push_back({begin, id});
      std::erase(open, begin);
    }
  }
  return out;
}

std::optional<std::vector<BlockParameter>> block_parameters(const Node& begin) {
  std::vector<BlockParameter> out;
  const ValueList& signature = begin.args[1].items();
  for (std::size_t i = 0; i < signature.size(); ++i) {
    const ValueList& entry = signature[i].items();
    out.push_back({entry[0].text(), kind_of(entry[1].text()), begin.args[2 + i], std::nullopt});
    if (entry.size() > 2) out.back().fallback = entry[2];
    const BlockParameter& p = out.back();
    if (!fits_signature(out)) return std::nullopt;
    if ((p.kind == ParameterKind::var_positional && !p.value.is(ValueKind::tuple)) ||
        (p.kind == ParameterKind::var_keyword && !p.value.is(ValueKind::dict)))
      return std::nullopt;
  }
  return out;
}

bool holds_unknown(const Value& value) {
  switch (value.kind()) {
    case ValueKind::ellipsis:
      return true;
    case ValueKind::tuple:
    case ValueKind::list:
      return std::any_of(value.items().begin(), value.items().end(), holds_unknown);
    case ValueKind::dict:
      return std::any_of(value.dict_items().begin(), value.dict_items().end(),
                         [](const auto& item) { return holds_unknown(item.second); });
    default:
      return false;
  }
}

Value without_unknown(const Value& value) {
  if (value.is(ValueKind::ellipsis)) return Value::none();
  if (!holds_unknown(value)) return value;
  if (value.is(ValueKind::dict)) {
    ValueDict items;
    for (const auto& [key, item] : value.dict_items()) items.emplace_back(key, without_unknown(item));
    return Value::dict(std::move(items));
  }
  ValueList items;
  for (const Value& item : value.items()) items.push_back(without_unknown(item));
  return value.is(ValueKind::tuple) ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

}  // namespace modulize
