#include "ir/environment_queries.h"

#include <algorithm>
#include <iterator>

namespace modulize {

namespace {

struct Worlds {
  std::uint8_t together;
  bool is_alone;
};

template <class... Some>
constexpr Worlds in(Some... worlds) {
  return {static_cast<std::uint8_t>((worlds | ...)), false};
}

constexpr EnvironmentQuery kQueries[] = {
#define IN(...) in(__VA_ARGS__)
#define ALONE \
  Worlds { 0, true }
#define NOWHERE \
  Worlds { 0, false }
#define ENVIRONMENT_QUERY(question, answer, worlds, region, ...) \
  {question, QueryAnswer::answer, (worlds).together, (worlds).is_alone, region, {__VA_ARGS__}},
#include "ir/environment_queries.def"
#undef ENVIRONMENT_QUERY
#undef NOWHERE
#undef ALONE
#undef IN
};

}  // namespace

std::span<const EnvironmentQuery> environment_queries() { return kQueries; }

const EnvironmentQuery* find_environment_query(std::string_view function) {
  if (!function.starts_with("torch.")) return nullptr;
  const auto it = std::find_if(std::begin(kQueries), std::end(kQueries),
                               [&](const EnvironmentQuery& query) { return query.question == function; });
  return it == std::end(kQueries) ? nullptr : it;
}

}  // namespace modulize
