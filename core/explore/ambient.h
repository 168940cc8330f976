// Questions that forward asks about the world around it, and the worlds a prepared model may be called in.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace modulize {

/// The questions that are answered otherwise than in a plain call, one set a world: in torch.jit.trace, in
/// torch.compile, in the exports, under another gradient mode, under autocast.
const std::vector<std::set<std::string>>& other_worlds();

}  // namespace modulize
