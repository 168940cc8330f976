// Where a capture stands: in the user's code, and in the tree of modules.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bridge/record/capture.h"

namespace modulize {

/// An instruction of the user's code. Before Python 3.11 the "instruction" is the line.
struct CodeSite {
  PyCodeObject* code;
  int lasti;
  int line() const;
  /// "file:line", or "".
  std::string text() const;
  bool operator==(const CodeSite&) const = default;
};

/// Of one capture, whose graph it gives scopes and, at the end, sources. Needs the GIL.
class Places {
 public:
  /// `follows_codes`: what ran at each place is kept in Capture::codes.
  Places(Capture& capture, bool follows_codes) : capture_(capture), follows_codes_(follows_codes) {}
  ~Places();
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;

  /// The place in the user's code that runs now; kNoSource where there is none.
  SourceId current();
  /// `source` is none of kNoSource, before give_sources().
  const CodeSite& site(SourceId source) const { return sites_[source - 1]; }
  /// The user's code that runs now, and the offset of its instruction.
  std::optional<std::pair<nb::object, int>> current_site();
  /// "file:line" of the user's code that runs now, or "".
  std::string here() { return where(current()); }
  /// " at file:line" of it, or "".
  std::string at_here();
  /// "file:line" of a node's source, before give_sources().
  std::string where(SourceId source) const;
  /// " at file:line (in module 'path')", for error messages.
  std::string in_words();
  /// The functions of the user that run now, innermost first.
  std::vector<RunningCode> running_codes();

  /// The call of a module that runs now.
  ScopeId scope() const { return scope_; }
  const std::string& scope_path() const { return capture_.graph.scope(scope_).path; }
  /// A call of the module at `path` begins; returns the scope around it, for leave_scope.
  ScopeId enter_scope(const std::string& path);
  void leave_scope(ScopeId outer) { scope_ = outer; }

  /// `x / y` arrives as Tensor.div, and so does `x.div(y)`: makes operators of those calls that an operator made.
  void spell_operators();
  /// Replaces places by sources in all nodes. At the end; a second call does nothing.
  void give_sources();

 private:
  struct SiteHash {
    std::size_t operator()(const CodeSite& s) const {
      return std::hash<void*>()(s.code) * 31 + static_cast<std::size_t>(s.lasti);
    }
  };
  bool is_of_user(PyCodeObject* code);

  Capture& capture_;
  bool follows_codes_;
  ScopeId scope_ = kRootScope;
  std::unordered_map<std::string, std::uint32_t> scope_calls_;
  std::unordered_map<CodeSite, SourceId, SiteHash> site_index_;
  std::vector<CodeSite> sites_;  // owns a reference to each code object; site i is SourceId i + 1
  bool has_sources_ = false;
  std::unordered_map<PyCodeObject*, bool> user_code_;
};

}  // namespace modulize
