#include "ir/kept_sites.h"

#include <algorithm>

#include "ir/regions.h"

namespace modulize {

namespace {

/// A call with more is no site: of a text, it might ask for any amount of memory.
constexpr std::int64_t kMaxPositional = 65535;

Value value_of(const KeptSite& site) {
  ValueList keywords;
  for (const std::string& keyword : site.keywords) keywords.push_back(Value::string(keyword));
  return Value::tuple({Value::string(site.file), Value::string(site.function), Value::integer(site.first_line),
                       Value::integer(site.instruction), Value::string(site.name),
                       Value::string(site.is_method ? "method" : "function"), Value::string(site.target),
                       Value::integer(static_cast<std::int64_t>(site.positional)), Value::tuple(std::move(keywords)),
                       Value::string(site.where)});
}

/// A text may have other entries than value_of writes.
std::optional<KeptSite> site_of(const Value& entry) {
  static constexpr ValueKind kFields[] = {ValueKind::string, ValueKind::string, ValueKind::integer, ValueKind::integer,
                                          ValueKind::string, ValueKind::string, ValueKind::string,  ValueKind::integer,
                                          ValueKind::tuple,  ValueKind::string};
  if (!entry.is(ValueKind::tuple) || entry.items().size() != std::size(kFields)) return std::nullopt;
  const ValueList& fields = entry.items();
  for (std::size_t i = 0; i < fields.size(); ++i)
    if (!fields[i].is(kFields[i])) return std::nullopt;
  const std::string& form = fields[5].text();
  const std::int64_t positional = fields[7].as_integer();
  if ((form != "method" && form != "function") || fields[6].text().empty() || positional < 0 ||
      positional > kMaxPositional)
    return std::nullopt;
  KeptSite site{.file = fields[0].text(),
                .function = fields[1].text(),
                .first_line = fields[2].as_integer(),
                .instruction = fields[3].as_integer(),
                .name = fields[4].text(),
                .is_method = form == "method",
                .target = fields[6].text(),
                .positional = static_cast<std::size_t>(positional),
                .keywords = {},
                .where = fields[9].text()};
  for (const Value& keyword : fields[8].items()) {
    if (!keyword.is(ValueKind::string)) return std::nullopt;
    if (std::find(site.keywords.begin(), site.keywords.end(), keyword.text()) != site.keywords.end())
      return std::nullopt;
    site.keywords.push_back(keyword.text());
  }
  return site;
}

}  // namespace

bool enters_kept_code(const Node& node) {
  return is_enter(node) && !node.args.empty() && node.args[0].is(ValueKind::string) &&
         node.args[0].text() == kSitesContext;
}

void merge_sites(KeptSites& sites, const KeptSites& more) {
  for (const auto& [region, found] : more)
    for (const KeptSite& site : found)
      if (std::vector<KeptSite>& known = sites[region]; std::find(known.begin(), known.end(), site) == known.end())
        known.push_back(site);
}

void write_sites(Graph& graph, const KeptSites& sites) {
  for (const NodeId id : graph.order()) {
    Node& node = graph[id];
    if (!enters_kept_code(node) || node.args.size() != 3 || !node.args[2].is(ValueKind::string)) continue;
    ValueList entries;
    if (const auto found = sites.find(node.args[2].text()); found != sites.end())
      for (const KeptSite& site : found->second)
        if (site.positional <= static_cast<std::size_t>(kMaxPositional)) entries.push_back(value_of(site));
    node.args.push_back(Value::tuple(std::move(entries)));
  }
}

std::optional<std::vector<KeptSite>> kept_sites(const Node& node) {
  if (!enters_kept_code(node) || node.args.size() != 4 || !node.args[2].is(ValueKind::string) ||
      !node.args[3].is(ValueKind::tuple))
    return std::nullopt;
  std::vector<KeptSite> sites;
  for (const Value& entry : node.args[3].items()) {
    std::optional<KeptSite> site = site_of(entry);
    if (!site) return std::nullopt;
    sites.push_back(std::move(*site));
  }
  return sites;
}

}  // namespace modulize
