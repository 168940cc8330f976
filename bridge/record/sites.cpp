#include "bridge/record/sites.h"

#include <algorithm>
#include <optional>
#include <set>

#include "ir/namer.h"
#include "ir/regions.h"

namespace modulize {

namespace {

struct Lowered {
  ModuleSpec module;
  Conversion conversion;
  ValueList positional;  // what the module is called with: positions and keywords of the site
  ValueDict keywords;
  bool writes_back = false;  // the result is copied into the first argument, and is it
  bool on_copy = false;      // of the first argument, which backward needs as it was
};

/// What the passes make of a call of this form whose arguments are all values. Nothing if no module runs there, or one
/// that needs to know them.
std::optional<Lowered> lower(const KeptSite& site, const PipelineOptions& options) {
  Graph graph;
  Node call;
  call.op = site.call.form == CallForm::method ? Opcode::call_method : Opcode::call_function;
  call.target = site.call.name;
  std::vector<Value> sources;  // by placeholder
  const auto placeholder = [&](const std::string& name, Value source) {
    Node node;
    node.op = Opcode::placeholder;
    node.target = name;
    graph.parameter_kinds.push_back(ParameterKind::positional_or_keyword);
    sources.push_back(std::move(source));
    return Value::node(graph.add(std::move(node)));
  };
  for (std::size_t i = 0; i < site.positional; ++i)
    call.args.push_back(placeholder("p" + std::to_string(i), Value::integer(static_cast<std::int64_t>(i))));
  for (const std::string& keyword : site.keywords)
    call.kwargs.emplace_back(keyword, placeholder("k_" + keyword, Value::string(keyword)));
  const NodeId called = graph.add(std::move(call));
  Node output;
  output.op = Opcode::output;
  output.args.push_back(Value::node(called));
  graph.add(std::move(output));

  std::vector<Conversion> conversions;
  run_pipeline(graph, options, &conversions);
  std::vector<NodeId> made;
  for (const NodeId id : graph.order())
    if (graph[id].op != Opcode::placeholder && graph[id].op != Opcode::output) made.push_back(id);
  const bool on_copy = made.size() == 3 && graph[made[0]].op == Opcode::call_method &&
                       graph[made[0]].target == "clone" && graph[made[0]].args == ValueList{Value::node(0)};
  if (on_copy) made.erase(made.begin());
  if (made.empty() || conversions.size() != 1 || graph[made[0]].op != Opcode::call_module) return std::nullopt;
  const Node& node = graph[made[0]];
  const ModuleSpec* spec = graph.modules.find(node.target);
  if (!spec || spec->kind != ModuleKind::constructed || !spec->adopts.empty()) return std::nullopt;
  Lowered out{*spec, conversions[0], {}, {}};
  const auto source = [&](const Value& value) -> std::optional<Value> {
    if (!value.is_node()) return std::nullopt;
    if (value.as_node() < sources.size()) return sources[value.as_node()];
    return on_copy && graph[value.as_node()].target == "clone" ? std::optional(sources[0]) : std::nullopt;
  };
  for (const Value& value : node.args) {
    const auto from = source(value);
    if (!from) return std::nullopt;
    out.positional.push_back(*from);
  }
  for (const auto& [key, value] : node.kwargs) {
    const auto from = source(value);
    if (!from) return std::nullopt;
    out.keywords.emplace_back(Value::string(key), *from);
  }
  if (made.size() == 1) return out;
  const Node& write = graph[made[1]];
  const bool copies = made.size() == 2 && write.op == Opcode::call_method && write.target == "copy_" &&
                      write.args.size() == 2 && write.args[0] == Value::node(0) &&
                      write.args[1] == Value::node(made[0]) && graph[graph.output()].args[0] == Value::node(made[1]);
  if (!copies) return std::nullopt;
  out.writes_back = true;
  out.on_copy = on_copy;
  return out;
}

/// One entry of a region: who finds it, and what runs there.
Value entry(const KeptSite& site, const Lowered& lowered) {
  ValueList keywords;
  for (const std::string& keyword : site.keywords) keywords.push_back(Value::string(keyword));
  return Value::tuple({Value::string(site.file), Value::string(site.function), Value::integer(site.first_line),
                       Value::integer(site.instruction), Value::string(site.name),
                       Value::integer(static_cast<std::int64_t>(site.positional)), Value::tuple(std::move(keywords)),
                       Value::string(lowered.module.path), Value::tuple(lowered.positional),
                       Value::dict(lowered.keywords), Value::boolean(lowered.writes_back),
                       Value::boolean(lowered.on_copy)});
}

}  // namespace

void merge_sites(KeptSites& sites, const KeptSites& more) {
  for (const auto& [region, found] : more)
    for (const KeptSite& site : found)
      if (std::vector<KeptSite>& known = sites[region]; std::find(known.begin(), known.end(), site) == known.end())
        known.push_back(site);
}

void lower_sites(Graph& graph, const KeptSites& sites, const PipelineOptions& options,
                 std::vector<Conversion>& conversions) {
  std::map<std::string, Value> entries;  // of a region that stands on several sides of a branch, once
  std::set<NodeId> dissolved;
  for (const NodeId id : graph.order()) {
    Node& node = graph[id];
    if (is_leave(node) && dissolved.contains(region_of_leave(node))) graph.erase(id);
    if (!is_enter(node) || node.args.size() != 3 || !(node.args[0] == Value::string(std::string(kSitesContext))))
      continue;
    const std::string& key = node.args[2].text();
    if (!entries.contains(key)) {
      ValueList made;
      std::map<std::string, std::uint32_t> numbers;
      const auto found = sites.find(key);
      for (const KeptSite& site : found == sites.end() ? std::vector<KeptSite>() : found->second) {
        std::optional<Lowered> lowered = lower(site, options);
        if (!lowered) continue;
        ModuleSpec& module = lowered->module;
        const std::string scope = graph.scope(node.scope).path;
        module.path = new_module_path(graph.modules, scope, module.base, numbers[module.base]++);
        lowered->conversion.path = module.path;
        lowered->conversion.scope = scope;
        lowered->conversion.where = site.where;
        made.push_back(entry(site, *lowered));
        graph.modules.add(module);
        conversions.push_back(std::move(lowered->conversion));
      }
      entries.emplace(key, Value::tuple(std::move(made)));
    }
    if (entries.at(key).items().empty()) {
      dissolved.insert(id);
      graph.erase(id);
    } else {
      node.args[2] = entries.at(key);
    }
  }
}

}  // namespace modulize
