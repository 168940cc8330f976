#include "explore/ambient.h"

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

}  // namespace modulize
