#include "explore/ambient.h"

#include <algorithm>

#include "ir/environment_queries.h"

namespace modulize {

const std::vector<std::set<std::string>>& other_worlds() {
  static const std::vector<std::set<std::string>> worlds = [] {
    std::vector<std::set<std::string>> out;
    for (const World world : kWorlds) {
      std::set<std::string>& questions = out.emplace_back();
      for (const EnvironmentQuery& query : environment_queries())
        if (query.worlds & world) questions.emplace(query.question);
    }
    for (const EnvironmentQuery& query : environment_queries())
      if (query.is_alone) out.push_back({std::string(query.question)});
    return out;
  }();
  return worlds;
}

std::optional<std::set<std::string>> world_of(const std::map<std::string, bool>& answers) {
  const auto is_of = [](const EnvironmentQuery* query, int world) { return query && (query->worlds & world) != 0; };
  const auto is_so = [&](int world) {
    return std::all_of(answers.begin(), answers.end(), [&](const auto& answer) {
      const EnvironmentQuery* const query = find_environment_query(answer.first);
      return (query && query->is_alone) || is_of(query, world) == answer.second;
    });
  };
  if (is_so(0)) return std::set<std::string>();
  for (const World world : kWorlds) {
    if (!is_so(world)) continue;
    std::set<std::string> out;
    for (const EnvironmentQuery& query : environment_queries())
      if (is_of(&query, world)) out.emplace(query.question);
    return out;
  }
  return std::nullopt;
}

}  // namespace modulize
