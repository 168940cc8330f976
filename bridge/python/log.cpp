#include "bridge/python/log.h"

#include <cstdio>
#include <cstdlib>
#include <set>

#include "support/error.h"

namespace modulize {

std::array<bool, std::size(kLogCategories)> logged_categories = {};

namespace {

constexpr int kDebug = 10, kNotSet = 0;  // levels of Python's logging

nb::object logger(std::string_view category) {
  const std::string name = "modulize" + (category.empty() ? "" : "." + std::string(category));
  return nb::module_::import_("logging").attr("getLogger")(name);
}

std::set<std::string_view> named_in(std::string_view setting) {
  std::set<std::string_view> out;
  while (!setting.empty()) {
    const std::size_t comma = setting.find(',');
    std::string_view word = setting.substr(0, comma);
    setting = comma == setting.npos ? std::string_view() : setting.substr(comma + 1);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (word.empty()) continue;
    const LogCategoryRow* known = nullptr;
    std::string all;
    for (const LogCategoryRow& row : kLogCategories) {
      if (row.name == word) known = &row;
      all += (all.empty() ? "" : ", ") + std::string(row.name);
    }
    if (!known)
      throw Error(ErrorCode::ArgumentError,
                  "MODULIZE_LOG names '" + std::string(word) + "', and the categories are: " + all);
    out.insert(known->name);
  }
  return out;
}

void print_to_stderr() {
  const nb::object ours = logger("");
  if (nb::cast<bool>(ours.attr("hasHandlers")())) return;
  const nb::module_ logging = nb::module_::import_("logging");
  const nb::object handler = logging.attr("StreamHandler")();
  handler.attr("setFormatter")(logging.attr("Formatter")("[%(name)s] %(message)s"));
  ours.attr("addHandler")(handler);
}

}  // namespace

void follow_log_settings() {
  static std::set<std::string_view> before;  // what the setting has switched on, and switches off when it is gone
  const char* setting = std::getenv("MODULIZE_LOG");
  const std::set<std::string_view> named = named_in(setting ? setting : "");
  if (!named.empty()) print_to_stderr();
  for (std::size_t i = 0; i < logged_categories.size(); ++i) {
    const std::string_view name = kLogCategories[i].name;
    const nb::object of_category = logger(name);
    if (named.contains(name) != before.contains(name))
      of_category.attr("setLevel")(named.contains(name) ? kDebug : kNotSet);
    logged_categories[i] = nb::cast<bool>(of_category.attr("isEnabledFor")(kDebug));
  }
  before = named;
}

void log(LogCategory category, const LogEvent& event) {
  std::string line;
  if (event.round) line += "round " + std::to_string(*event.round) + ": ";
  line += event.reason;
  if (!event.where.empty()) line += (event.reason.empty() ? "at " : " at ") + event.where;
  if (!event.reason.empty() || !event.where.empty()) line += ": ";
  line += event.what;
  if (event.seconds) {
    char cost[32];
    std::snprintf(cost, sizeof cost, ", %.1f ms", *event.seconds * 1e3);
    line += cost;
  }
  for (char& c : line)
    if (c == '\n' || c == '\r') c = ' ';  // one line an event
  logger(kLogCategories[static_cast<std::size_t>(category)].name).attr("debug")("%s", line);
}

}  // namespace modulize
