// What a capture has assumed, as checks in its graph; and which of these checks say nothing.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "explore/coincidences.h"
#include "explore/merge.h"
#include "ir/graph.h"

namespace modulize {

/// Python read a module's mode flag, and may have decided something by it.
struct ModeRead {
  std::string path;  // of the flag: "layer1.training"
  bool flag;
  std::string where;
};

/// What no capture has shown to be harmless is an assumption: the leaks that are left become checks.
void check_leaks(Graph& graph);

/// The number is an assumption; `text` says which, for people.
void check_number(Graph& graph, const Coincidence& number, const std::string& text);

/// Checks at the beginning that the modes are what they were, where forward decides by them.
void add_mode_checks(Graph& graph, const std::vector<ModeRead>& reads);

/// The condition for a difference between captures in the two modes, which begins at `a` in `first` and at `b` in
/// `other`: the flag that was read last before it. `flags`: path of a mode flag -> its value in the first capture; not
/// empty.
Condition mode_condition(const Graph& first, NodeId a, const Graph& other, NodeId b,
                         const std::map<std::string, bool>& flags);

/// The names of all that is taken apart by a position, and of the objects that hold it.
std::set<std::string> opened_lists(const Graph& graph);

/// Of the checks in `harmless` (names of nodes), those that hold a list to its length, which then says nothing: nobody
/// takes an item out by its position. So do leaks of all that is in an object. `lean`: the graph without dead code.
/// `others`: is there any other check among them?
std::set<std::string> length_checks(const Graph& graph, const Graph& lean, const std::set<std::string>& harmless,
                                    bool* others = nullptr);

}  // namespace modulize
