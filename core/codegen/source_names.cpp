#include "codegen/source_names.h"

#include "ir/regions.h"
#include "support/error.h"
#include "support/identifier.h"
#include "support/python_repr.h"

namespace modulize {

namespace {

std::string_view root_of(std::string_view name) { return name.substr(0, name.find('.')); }

// Calls `fn` with every qualified name inside.
template <class Fn>
void for_each_name(const Value& value, Fn&& fn) {
  switch (value.kind()) {
    case ValueKind::name:
      fn(std::string_view(value.text()));
      break;
    case ValueKind::tuple:
    case ValueKind::list:
    case ValueKind::slice:
      for (const Value& item : value.items()) for_each_name(item, fn);
      break;
    case ValueKind::dict:
      for (const auto& [key, item] : value.dict_items()) {
        for_each_name(key, fn);
        for_each_name(item, fn);
      }
      break;
    default:
      break;
  }
}

// What the generator itself writes.
constexpr std::string_view kReserved[] = {"self", "forward", "modulize", "torch"};

}  // namespace

SourceNames::SourceNames(const Graph& graph, std::vector<std::pair<std::string, std::string>> spellings)
    : spellings_(std::move(spellings)) {
  for (const auto& [prefix, spelling] : spellings_) taken_.emplace(spelling);
  for (const std::string_view name : kReserved) taken_.emplace(name);
  const auto take_root = [&](std::string_view name) { taken_.emplace(root_of(name)); };
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op == Opcode::placeholder) {
      const std::string name = node.target.substr(std::min(node.target.find_first_not_of('*'), node.target.size()));
      taken_.insert(name);
      parameters_.insert(name);
    } else if (node.op == Opcode::call_function) {
      take_root(node.target);
      if (is_enter(node) && !node.args.empty() && node.args[0].is(ValueKind::string)) take_root(node.args[0].text());
    }
    for_each_name(node.callee, take_root);
    for (const Value& value : node.args) for_each_name(value, take_root);
    for (const auto& [key, value] : node.kwargs) for_each_name(value, take_root);
  }
}

std::string SourceNames::unique(std::string_view wish) {
  std::string name;
  name.reserve(wish.size() + 4);
  for (const char c : wish) {
    const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    name += ok ? c : '_';
  }
  // "_object_" and "_forward_" are ours; a name with two leading underscores would be special in a class body.
  while (name.starts_with("__")) name.erase(0, 1);
  if (name.empty() || (name[0] >= '0' && name[0] <= '9') || name.starts_with("_object_") ||
      name.starts_with("_forward_") || name.starts_with("_global_"))
    name.insert(0, "v_");
  if (is_plain_identifier(name) && !is_builtin(name) && taken_.insert(name).second) return name;
  unsigned& counter = counters_[name];
  for (;;) {
    std::string candidate = name + "_" + std::to_string(++counter);
    if (taken_.insert(candidate).second) return candidate;
  }
}

std::string SourceNames::global(std::string_view root, std::string_view meaning) {
  if (!parameters_.count(std::string(root))) return std::string(root);
  std::string alias = "_global_" + std::string(root);
  aliases_.emplace(alias, meaning);
  return alias;
}

std::string SourceNames::builtin(std::string_view name) { return global(name, "builtins." + std::string(name)); }

std::string SourceNames::qualified(std::string_view name) {
  const auto known = spelled_.find(std::string(name));
  if (known != spelled_.end()) return known->second;
  std::string text;
  constexpr std::string_view kBuiltinPrefix = "builtins.";
  if (name.starts_with(kBuiltinPrefix) && is_builtin(name.substr(kBuiltinPrefix.size()))) {
    text = builtin(name.substr(kBuiltinPrefix.size()));
  } else {
    const std::string_view root = root_of(name);
    if (!is_plain_identifier(root))
      throw Error(ErrorCode::ModulizeError,
                  "cannot spell the name " + python_repr(name) + " in Python source: its first part is no identifier");
    std::string_view rest = name.substr(root.size());
    text = shortened(name, rest);
    if (text.empty()) {
      text = global(root, root);
      imports_.emplace(root, true);
    }
    names_.emplace(name, true);
    while (!rest.empty()) {
      rest.remove_prefix(1);  // the dot
      const std::string_view part = root_of(rest);
      if (is_plain_identifier(part)) {
        text += '.';
        text += part;
      } else {
        text = builtin("getattr") + "(" + text + ", " + python_repr(part) + ")";
      }
      rest.remove_prefix(part.size());
    }
  }
  spelled_.emplace(name, text);
  return text;
}

std::string SourceNames::shortened(std::string_view name, std::string_view& rest) {
  for (const auto& [prefix, spelling] : spellings_) {
    if (!name.starts_with(prefix)) continue;
    rest = name.substr(prefix.size() - 1);  // with its dot
    return global(spelling, spelling);
  }
  return {};
}

std::string SourceNames::object(ObjectId id) {
  std::string name = "_object_" + std::to_string(id);
  objects_.emplace(name, id);
  return name;
}

void SourceNames::write_to(GeneratedSource& source) const {
  for (const auto& [name, unused] : imports_) source.imports.push_back(name);
  for (const auto& [name, unused] : names_) source.names.push_back(name);
  for (const auto& [name, id] : objects_) source.objects.emplace_back(name, id);
  for (const auto& [name, meaning] : aliases_) source.aliases.emplace_back(name, meaning);
}

}  // namespace modulize
