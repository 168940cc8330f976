// What the passes share: paths for new modules, and the turning of calls into module calls.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ops/lowering.h"
#include "passes/pass.h"

namespace modulize {

/// Paths for new modules of one graph, by the naming rule of the target: the local one (ir/namer.h), or after the names
/// of the nodes, which name_as_torch_fx has made those of torch.fx. Numbers and scopes are those of the moment of
/// construction: nodes may be rewritten afterwards. Whoever asks for a path adds a module there at once.
class ModuleNames {
 public:
  ModuleNames(const Graph& graph, const Lowerings& lowerings);

  /// A free path for the module of the call `id`, an operation of that base name.
  std::string operation_path(const Graph& graph, NodeId id, std::string_view base);
  /// A free path for the module of a repeated call of the module `original`.
  std::string repeat_path(const Graph& graph, NodeId id, std::string_view original, std::string_view base);

 private:
  std::string numbered_path(const ModuleTree& tree, NodeId id, std::string_view parent, std::string_view base);

  NamingRule rule_;
  // Paths below which a leaf is called or a tensor is read.
  std::unordered_set<std::string> inhabited_;
  std::vector<std::uint32_t> numbers_;
  // Per stem, a run of numbers known to be taken: a block called n times would count up n*n times otherwise.
  std::unordered_map<std::string, std::pair<std::uint32_t, std::uint32_t>> taken_;
};

/// Turns every call that `chooses(op)` into a call of a new module. In-place forms whose storage is read elsewhere keep
/// their write: the module's result is copied into the storage.
template <class Choose>
PassResult convert_calls(Graph& graph, const PassContext& context, std::string_view pass, Choose&& chooses);

/// Turns one call into a call of the module of `lowering`, at a new path.
void convert_call(Graph& graph, NodeId id, Lowering lowering, bool storage_is_read, ModuleNames& names,
                  const PassContext& context, std::string_view pass);

}  // namespace modulize

#include "ops/storage.h"

namespace modulize {

template <class Choose>
PassResult convert_calls(Graph& graph, const PassContext& context, std::string_view pass, Choose&& chooses) {
  std::vector<std::pair<NodeId, Lowering>> found;
  const Lowerings lowerings(graph, context.options.target, context.options.layout_modules);
  for (const NodeId id : graph.order())
    if (const Op* op = lowerings.op_of(id); op && chooses(*op)) found.emplace_back(id, lowerings.lower(id));
  if (found.empty()) return {};
  ModuleNames names(graph, lowerings);
  std::vector<bool> is_read;
  for (const auto& [id, lowering] : found)
    if (lowering.writes && is_read.empty()) is_read = written_storage_is_read(graph, lowerings.types());
  for (auto& [id, lowering] : found)
    convert_call(graph, id, std::move(lowering), !is_read.empty() && is_read[id], names, context, pass);
  return {.modified = true};
}

}  // namespace modulize
