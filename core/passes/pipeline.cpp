#include "passes/pipeline.h"

#include <chrono>

#include "ir/verifier.h"
#include "support/error.h"

namespace modulize {

const std::vector<std::string_view>& default_pipeline() {
  static const std::vector<std::string_view> names = {
      // First: its modules have the names they would have alone, and regions without any are gone for all others.
      "kept_calls_to_modules",
      // Before any call is rewritten: torch.fx counts dead code and calls that become modules too.
      "name_as_torch_fx",
      // So that nothing is named after or made for a call whose result nobody uses.
      "dead_code",
      // Nothing without the option idioms. Before attention is opened, which it may recognise.
      "recognise_idioms",
      // Nothing without the option of that name. Before the calls become modules, as what it writes are calls.
      "decompose_attention",
      // Before the calls become modules: the modules made there are new, each is called once.
      "split_reused_modules",
      "functional_to_module",
      "elementwise_to_module",
      // Nothing without the option layout_modules.
      "layout_to_module",
      // What the rewrites left over: reads of weights that a module holds now, of mode flags it follows.
      "dead_code",
      // Nothing without the option plain_sizes. After the others, which know reads of sizes by their names.
      "sizes_to_plain_numbers",
      // Last: every pass before sees one flat list of nodes. Blocks first: a branch of a block is the block's.
      "outline_blocks",
      "outline_branches",
  };
  return names;
}

void run_pipeline(Graph& graph, const PipelineOptions& options, std::vector<Conversion>* conversions) {
  PassContext context;
  context.options = options;
  context.conversions = conversions;
  if (options.verify_each) verify(graph);
  for (const std::string_view name : default_pipeline()) {
    const PassInfo* pass = find_pass(name);
    if (!pass) throw Error(ErrorCode::ModulizeError, "the pipeline names an unknown pass '" + std::string(name) + "'");
    const auto begin = std::chrono::steady_clock::now();
    const PassResult result = pass->run(graph, context);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (options.on_pass) options.on_pass({name, result.modified, seconds.count()}, graph);
    if (options.verify_each) verify(graph);
  }
}

}  // namespace modulize
