// Questions that forward asks about the world around it, and the worlds a prepared model may be called in.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace modulize {

/// The questions that are answered otherwise than in a plain call, one set a world: in torch.jit.trace, in
/// torch.compile, in the exports, under another gradient mode, under autocast.
const std::vector<std::set<std::string>>& other_worlds();

/// The first world in which what was asked has been answered so: an ordinary call, then those in which several answers
/// are others. `answers`: question -> is it answered otherwise than in an ordinary call? Those that are a world of
/// their own go with every world. Returns the questions that are answered otherwise there; nothing if there is no such
/// world.
std::optional<std::set<std::string>> world_of(const std::map<std::string, bool>& answers);

}  // namespace modulize
