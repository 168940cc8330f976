#include "bridge/explore/environments.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <string>

#include "bridge/capture/capture.h"
#include "bridge/python/log.h"
#include "explore/ambient.h"

namespace modulize {

namespace {

std::string joined(const std::set<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

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
    again.because(CaptureReason::question_flipped, joined(other));
    auto second = std::make_unique<Capture>();
    if (!try_capture(root, again, *second) || compare_captures({first.graph}, first, *second, Checks::equal))
      decisive.insert(other.begin(), other.end());
    // Worlds that differ only in what forward does not ask are one; in another world it may ask more.
    bool asks_more = false;
    for (const AmbientQuestion& q : second->ambient_questions)
      if (!asked.contains(q.question)) asks_more = asked_there.insert(q.question).second || asks_more;
    if (!asks_more) tried.insert(std::move(other));
  }
  for (const std::string& question : asked) {
    (decisive.contains(question) ? options.decided : options.silent).insert(question);
    if (is_logged(LogCategory::guards))
      log(LogCategory::guards,
          {decisive.contains(question) ? "its answer decides" : "its answer changes nothing", question});
  }
  if (!decisive.empty()) options.decided.insert(asked_there.begin(), asked_there.end());
}

}  // namespace modulize
