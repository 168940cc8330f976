// How the text form leaves out the parents of scopes. Printer and parser meet the scopes in the same order and ask the
// same question, so the printer writes `of PARENT` exactly where the parser would guess wrong.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// The scopes met so far, by path.
class ScopeTree {
 public:
  ScopeTree() : entries_(1) { entries_[0].latest = kRootScope; }

  /// The guess for the parent of a scope at `path`: of the scopes met whose path is a proper prefix, the one with the
  /// longest path; of several calls there the one met last. Linear in `path`.
  ScopeId guess_parent(std::string_view path) const {
    ScopeId best = kRootScope;
    std::uint32_t at = 0;
    while (!path.empty()) {
      if (entries_[at].latest != kNone) best = entries_[at].latest;
      const std::string_view part = take_part(path);
      const auto it = entries_[at].children.find(part);
      if (it == entries_[at].children.end()) break;
      at = it->second;
    }
    return best;
  }

  void add(std::string_view path, ScopeId id) {
    std::uint32_t at = 0;
    while (!path.empty()) {
      const std::string_view part = take_part(path);
      const auto it = entries_[at].children.find(part);
      if (it != entries_[at].children.end()) {
        at = it->second;
        continue;
      }
      const std::uint32_t fresh = static_cast<std::uint32_t>(entries_.size());
      entries_[at].children.emplace(part, fresh);
      entries_.emplace_back();
      at = fresh;
    }
    entries_[at].latest = id;
  }

 private:
  static constexpr ScopeId kNone = 0xffffffffu;
  struct Entry {
    std::map<std::string, std::uint32_t, std::less<>> children;
    ScopeId latest = kNone;
  };

  // "a.b.c" -> "a", leaving "b.c".
  static std::string_view take_part(std::string_view& path) {
    const std::size_t dot = path.find('.');
    const std::string_view part = path.substr(0, dot);
    path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
    return part;
  }

  std::vector<Entry> entries_;
};

}  // namespace modulize
