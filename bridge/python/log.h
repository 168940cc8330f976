// What a preparation tells while it runs: one line an event, through Python's logging.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/python/python.h"

namespace modulize {

enum class LogCategory : std::uint8_t {
#define MODULIZE_LOG_CATEGORY(name, text) name,
#include "bridge/python/log_categories.def"
#undef MODULIZE_LOG_CATEGORY
};

struct LogCategoryRow {
  std::string_view name, text;
};
inline constexpr LogCategoryRow kLogCategories[] = {
#define MODULIZE_LOG_CATEGORY(name, text) {#name, text},
#include "bridge/python/log_categories.def"
#undef MODULIZE_LOG_CATEGORY
};

/// By category, as follow_log_settings() found it.
extern std::array<bool, std::size(kLogCategories)> logged_categories;

/// Ask before an event is put together: where nobody listens, it costs this branch.
inline bool is_logged(LogCategory category) { return logged_categories[static_cast<std::size_t>(category)]; }

struct LogEvent {
  std::string what;
  std::string reason = {};
  std::string where = {};  // "file:line"
  std::optional<std::size_t> round = {};
  std::optional<double> seconds = {};
};

/// "round 1: decision flipped at net.py:12: 45 nodes, 3.1 ms", at level DEBUG.
void log(LogCategory category, const LogEvent& event);

/// A category is logged where its logger takes DEBUG. What MODULIZE_LOG names does, and prints to stderr unless the
/// program has handlers of its own. Throws Error(ArgumentError) for a category that there is not.
void follow_log_settings();

}  // namespace modulize
