// Calls whose inside may not be recorded: recording it would lose a backward, see compiled code as nothing, or record a
// transformed computation as a plain one.
#pragma once

#include "bridge/intercept/patches.h"

namespace modulize {

/// torch.autograd.Function, torch.jit functions, torch.vmap and torch.func.grad become one node each; checkpoint is
/// recorded through, as its backward is that of its inside; nn.Parameter(x) is a node.
void patch_opaque_bodies(Patches& patches);

/// Throws CaptureError if a function transform (torch.func) is active that nothing recorded as a whole.
void refuse_function_transforms(Recorder& recorder);

}  // namespace modulize
