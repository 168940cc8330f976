#include "bridge/explore/environments.h"

#include <algorithm>
#include <functional>
#include <iterator>
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

using Chosen = std::function<bool(const std::string& question)>;

/// Takes the decisions by the chosen questions, and what asks them, out of `graph`, which is that of `capture` or a
/// copy of it. Returns their keys.
std::set<std::string> erase_questions(const Capture& capture, const Chosen& is_chosen, Graph& graph) {
  std::set<std::string> keys;
  for (const Decision& decision : capture.decisions) {
    if (decision.question.empty() || !is_chosen(decision.question)) continue;
    const NodeId asks = graph[decision.node].args[0].as_node();
    graph.erase(decision.node);
    graph.erase(asks);
    keys.insert(decision.key);
  }
  return keys;
}

void forget_questions(Capture& capture, const Chosen& is_chosen) {
  const std::set<std::string> keys = erase_questions(capture, is_chosen, capture.graph);
  std::erase_if(capture.decisions, [&](const Decision& decision) { return keys.contains(decision.key); });
  std::erase_if(capture.ambient_questions, [&](const AmbientQuestion& asked) { return is_chosen(asked.question); });
}

/// What is asked counts only by what becomes of it.
bool is_same(const Capture& first, const Capture& second, const Chosen& is_unsorted) {
  Expected expected{first.graph};
  erase_questions(first, is_unsorted, expected.graph);
  for (const Decision& decision : second.decisions)
    if (!decision.question.empty() && is_unsorted(decision.question)) expected.idle.insert(decision.key);
  return !compare_captures(expected, first, second, Checks::equal);
}

}  // namespace

std::vector<std::shared_ptr<const Capture>> sort_questions(nb::handle root, Capture& first, CaptureOptions& options) {
  std::set<std::string> asked;
  for (const AmbientQuestion& q : first.ambient_questions) asked.insert(q.question);
  const Chosen is_unsorted = [&](const std::string& question) { return !options.decided.contains(question); };
  std::vector<std::shared_ptr<Capture>> others;
  std::set<std::string> decisive, asked_there;
  std::set<std::set<std::string>> tried;
  for (const std::set<std::string>& world : other_worlds()) {
    std::set<std::string> other;
    std::set_intersection(world.begin(), world.end(), asked.begin(), asked.end(), std::inserter(other, other.end()));
    if (other.empty() || tried.contains(other)) continue;
    CaptureOptions again = options;
    again.flipped = world;
    again.because(CaptureReason::question_flipped, joined(other));
    const auto second = std::make_shared<Capture>();
    const bool is_captured = try_capture(root, again, *second);
    if (!is_captured || !is_same(first, *second, is_unsorted)) {
      decisive.insert(other.begin(), other.end());
      if (is_captured) others.push_back(second);
    }
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
  if (options.on_dynamic != "branch") return {};
  const Chosen is_silent = [&](const std::string& question) { return options.silent.contains(question); };
  forget_questions(first, is_silent);
  for (const auto& other : others) forget_questions(*other, is_silent);
  return {others.begin(), others.end()};
}

}  // namespace modulize
