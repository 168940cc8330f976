#include "bridge/explore/environments.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <string>

#include "bridge/capture/capture.h"
#include "explore/ambient.h"

namespace modulize {

void ask_in_other_worlds(nb::handle root, const Capture& first, CaptureOptions& options) {
  std::set<std::string> asked;
  for (const AmbientQuestion& q : first.ambient_questions) asked.insert(q.question);
  std::set<std::string> decisive, asked_there;
  std::set<std::set<std::string>> tried;
  for (const std::set<std::string>& world : other_worlds()) {
    std::set<std::string> other;
    std::set_intersection(world.begin(), world.end(), asked.begin(), asked.end(), std::inserter(other, other.end()));
    if (other.empty() || tried.contains(other)) continue;
    CaptureOptions again = options;
    again.flipped = world;
    auto second = std::make_unique<Capture>();
    if (!try_capture(root, again, *second) ||
        compare_captures(first.graph, first, second->graph, *second, Checks::equal))
      decisive.insert(other.begin(), other.end());
    // Worlds that differ only in what forward does not ask are one; in another world it may ask more.
    bool asks_more = false;
    for (const AmbientQuestion& q : second->ambient_questions)
      if (!asked.contains(q.question)) asks_more = asked_there.insert(q.question).second || asks_more;
    if (!asks_more) tried.insert(std::move(other));
  }
  for (const std::string& question : asked)
    (decisive.contains(question) ? options.decided : options.silent).insert(question);
  if (!decisive.empty()) options.decided.insert(asked_there.begin(), asked_there.end());
}

}  // namespace modulize
