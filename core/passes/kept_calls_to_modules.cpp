// Calls of torch in code that is kept whole (ir/kept_sites.h) get modules: those that the other passes make of a call
// of this form whose arguments are all values.
//
//   %enter = call_function modulize._runtime.enter('modulize._runtime.Sites', %root, 'forward',
//       (('net.py', 'forward', 7, 24, 'relu', 'function', 'torch.relu', 1, (), 'net.py:8'),))
// ==>
//   module module_relu = torch.nn.ReLU() for relu
//   %enter = call_function modulize._runtime.enter('modulize._runtime.Sites', %root,
//       (('net.py', 'forward', 7, 24, 'relu', 1, (), 'module_relu', (0,), {}, False, False),))
//
// Sites without a module are left out, and a region without sites is dissolved.
#include <optional>
#include <set>

#include "ir/kept_sites.h"
#include "ir/namer.h"
#include "ir/regions.h"
#include "passes/pipeline.h"

namespace modulize {

namespace {

struct Lowered {
  ModuleSpec module;
  Conversion conversion;
  ValueList positional = {};  // what the module is called with: positions and keywords of the site
  ValueDict keywords = {};
  bool writes_back = false;  // the result is copied into the first argument, and is it
  bool on_copy = false;      // of the first argument, which backward needs as it was
};

/// A graph of the one call at a site. `sources`: what each placeholder stands for, a position or a keyword.
Graph graph_of(const KeptSite& site, std::vector<Value>& sources) {
  Graph graph;
  Node call;
  call.op = site.is_method ? Opcode::call_method : Opcode::call_function;
  call.target = site.target;
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
  return graph;
}

bool is_clone_of_first(const Node& node) {
  return node.op == Opcode::call_method && node.target == "clone" && node.args == ValueList{Value::node(0)};
}

/// Is the node `%p0.copy_(%value)`, and what the graph returns?
bool writes_back(const Graph& graph, NodeId write, NodeId value) {
  const Node& node = graph[write];
  return node.op == Opcode::call_method && node.target == "copy_" && node.args.size() == 2 &&
         node.args[0] == Value::node(0) && node.args[1] == Value::node(value) &&
         graph[graph.output()].args[0] == Value::node(write);
}

/// Nothing if no module runs there, or one that needs to know its arguments.
std::optional<Lowered> lower(const KeptSite& site, const PassOptions& pass_options) {
  if (site.target.starts_with("modulize.")) return std::nullopt;  // brackets and the like are nothing by themselves
  std::vector<Value> sources;                                     // by placeholder
  Graph graph = graph_of(site, sources);
  PipelineOptions options;
  static_cast<PassOptions&>(options) = pass_options;
  std::vector<Conversion> conversions;
  run_pipeline(graph, options, &conversions);
  std::vector<NodeId> made;
  for (const NodeId id : graph.order())
    if (graph[id].op != Opcode::placeholder && graph[id].op != Opcode::output) made.push_back(id);
  const bool on_copy = made.size() == 3 && is_clone_of_first(graph[made[0]]);
  if (on_copy) made.erase(made.begin());
  if (made.empty() || conversions.size() != 1 || graph[made[0]].op != Opcode::call_module) return std::nullopt;
  const Node& node = graph[made[0]];
  const ModuleSpec* spec = graph.modules.find(node.target);
  if (!spec || spec->kind != ModuleKind::constructed || !spec->adopts.empty()) return std::nullopt;
  Lowered out{.module = *spec, .conversion = conversions[0]};
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
  if (made.size() != 2 || !writes_back(graph, made[1], made[0])) return std::nullopt;
  out.writes_back = true;
  out.on_copy = on_copy;
  return out;
}

/// One entry of modulize._runtime.Sites: who finds it, and what runs there.
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

/// Adds the modules of a region in this scope to the tree.
ValueList entries_of(Graph& graph, const std::vector<KeptSite>& sites, const std::string& scope,
                     const PassContext& context) {
  ValueList entries;
  std::map<std::string, std::uint32_t> numbers;
  for (const KeptSite& site : sites) {
    std::optional<Lowered> lowered = lower(site, context.options);
    if (!lowered) continue;
    ModuleSpec& module = lowered->module;
    module.path = new_module_path(graph.modules, scope, module.base, numbers[module.base]++);
    lowered->conversion.path = module.path;
    lowered->conversion.scope = scope;
    lowered->conversion.where = site.where;
    entries.push_back(entry(site, *lowered));
    graph.modules.add(module);
    if (context.conversions) context.conversions->push_back(std::move(lowered->conversion));
  }
  return entries;
}

}  // namespace

PassResult kept_calls_to_modules(Graph& graph, const PassContext& context) {
  std::map<std::string, Value> entries;  // of a region that stands on several sides of a branch, once
  std::set<NodeId> dissolved;
  bool modified = false;
  for (const NodeId id : graph.order()) {
    Node& node = graph[id];
    if (is_leave(node) && dissolved.contains(region_of_leave(node))) {
      graph.erase(id);
      continue;
    }
    const auto sites = kept_sites(node);
    if (!sites) continue;
    modified = true;
    const std::string region = node.args[2].text();
    if (!entries.contains(region))
      entries.emplace(region, Value::tuple(entries_of(graph, *sites, graph.scope(node.scope).path, context)));
    if (entries.at(region).items().empty()) {
      dissolved.insert(id);
      graph.erase(id);
    } else {
      node.args.resize(2);
      node.args.push_back(entries.at(region));
    }
  }
  return {.modified = modified};
}

}  // namespace modulize
