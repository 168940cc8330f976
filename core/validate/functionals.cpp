// A call that computes and is no module: quantizers do not see it.
#include "report/leftovers.h"
#include "validate/rule.h"

namespace modulize {

void find_functionals(const ModelView& model, Findings& out) {
  for (const GraphPart& part : model.parts) {
    for (const Leftover& call : leftovers_of(*part.graph)) {
      if ((!call.computes && !call.yields_tensor) || call.is_kept) continue;
      out.push_back({FindingKind::functional, part.path(call.scope), call.where,
                     call.call + " computes in " + shown_path(part.path(call.scope)) + " and is no module",
                     call.has_module ? "prepare_model makes a module of it"
                                     : "register_operation gives it a module; or move it into a module of torch.nn"});
    }
  }
}

}  // namespace modulize
