// The other outcomes of decisions, and the other mode, as branches of one graph.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bridge/explore/explore.h"
#include "explore/merge.h"

namespace modulize {

/// Of one round of a preparation.
class Explorer {
 public:
  /// `verify`: what the other mode gives is compared with further captures in it. `known`: captures with these options,
  /// and other answers to what forward asks about the world around it.
  Explorer(nb::handle root, const CaptureOptions& options, bool verify,
           std::vector<std::shared_ptr<const Capture>> known)
      : root_(root), options_(options), verify_(verify), known_(std::move(known)) {}

  /// Makes branches of the decisions of `base`, those by the mode included.
  void explore(Capture& base);

  /// What a capture with its decisions should record, of `base` as it is when that is asked. Borrows both.
  Prediction prediction_for(const Capture& base) const;

  /// Of all decisions that are known, those of flipped sides included.
  const std::unordered_map<std::string, bool>& outcomes() const { return outcomes_; }
  bool is_mode_merged() const { return is_mode_merged_; }
  bool verifies() const { return verify_; }
  /// Gives `other`, a further capture, the tables of `base`, and `base` what it noted beside its graph.
  void take(Capture& base, Capture& other);
  /// Attributes of modules that sides and modes other than the first write.
  const std::set<std::string>& written_state() const { return written_state_; }

 private:
  struct Explored {
    Graph graph;
    std::map<std::string, NodeId> nodes;  // key of a decision -> its truth node in `graph`
    Numbers numbers;
  };

  Expected predict(const Graph& graph, const std::map<std::string, NodeId>& nodes, const Capture& second) const;
  Expected predict(const Graph& graph, const std::map<std::string, NodeId>& nodes,
                   const std::unordered_map<std::string, bool>& outcomes) const;

  /// Captures with these outcomes, in a world where questions are answered so; of one that was made before, a copy.
  void capture(const std::unordered_map<std::string, bool>& outcomes, Capture& out, CaptureReason reason,
               std::string detail);
  void note_questions(const Capture& capture);

  using Outcomes = std::unordered_map<std::string, bool>;
  /// The capture among `known_` that would be made again; null for none.
  const Capture* find_known(const Outcomes& outcomes, const std::set<std::string>& world) const;
  /// The questions that are answered otherwise than in an ordinary call; nothing if no world answers them so.
  std::optional<std::set<std::string>> world_with(const Outcomes& outcomes) const;
  /// Can the decision come out the other way, after those before it in `capture`?
  bool is_possible(const Capture& capture, const Decision& decision) const;

  void tell(const std::string& reason, const std::string& what, const std::string& where = {}) const;

  struct Failure {
    std::string why;
  };

  /// The decisions of `base` as branches.
  Explored decided(Capture& base);

  static Explored raw(const Capture& base);

  /// Captures with the first decision of `base` that is not in `known` flipped. Nothing if forward raises there; then a
  /// requirement is added.
  bool capture_flipped(Capture& base, const Decision& decision, std::unordered_map<std::string, bool> outcomes,
                       Capture& other, std::vector<Requirement>& requirements);

  /// Merges and says where the decisions of all sides stand then.
  std::optional<Explored> merged(const Explored& base, const std::vector<Variant>& variants,
                                 const std::vector<const Explored*>& sides,
                                 const std::vector<Requirement>& requirements, std::string* why);

  static Variant variant(const Explored& side, const Decision& decision);

  /// Every combination of outcomes: exact, and exponential in the number of decisions.
  Explored tree(Capture& base, std::set<std::string> known, int depth);

  /// Each decision flipped by itself; decisions that are met on a flipped side alone are explored there.
  Explored linear(Capture& base);

  /// One way through forward: its decisions with their outcomes, in their order.
  using Run = std::vector<std::pair<std::string, bool>>;
  static Run run_of(const Capture& capture);
  /// Does `explored` say what forward does where decisions come out in other combinations than those it was made of?
  /// Few combinations are all tried, of many some. If it does not: a decision that depends on another one; else null.
  const Decision* find_entangled(Capture& base, const Explored& explored);
  /// Tries every run that begins like `begin`. The beginning of one that is not what `explored` says, if there is one.
  std::optional<Run> find_wrong(Capture& base, const Explored& explored, const Run& begin);
  /// Captures with these outcomes. Nothing if what is recorded is not what `explored` says.
  std::optional<Run> run_as_predicted(Capture& base, const Explored& explored, const Run& outcomes);

  /// A capture records no gradients: what raises where there are some is not forward.
  static bool asks_for_gradients(const Graph& graph, const Decision& decision);

  Value error_value(Capture& base, const Decision& decision, const std::pair<nb::object, bool>& error);

  /// What the flipped capture noted beside its graph.
  void merge_notes(Capture& base, const Capture& other);

  /// What torch's layers write, and buffers, are their own.
  bool is_of_layer(const std::string& name) const;

  [[noreturn]] void keep(const Capture& base, const Decision& decision, const std::string& why) const;

  /// With the other mode; without it, and is_mode_merged() false, where it cannot be captured. What must be kept whole
  /// for it is kept in that mode alone.
  Explored with_other_mode(Capture& base, Explored first);

  /// What is of this mode alone must not be frozen either.
  void recapture_side(Capture& other, Explored& side);

  nb::handle root_;
  CaptureOptions options_;
  bool verify_;
  std::size_t captures_ = 0;
  std::vector<std::shared_ptr<const Capture>> known_;  // of the mode that is explored
  std::map<std::string, Decision> asked_;              // decisions by what forward asks about the world, by their keys
  // Of the mode that is explored: the runs that were captured, and the outcomes with which forward raised.
  std::vector<Run> runs_;
  std::set<std::pair<std::string, bool>> raising_;
  std::unordered_map<std::string, bool> outcomes_;
  std::map<std::string, NodeId> nodes_;
  std::map<std::string, std::string> aliases_;  // further places of one decision -> its key
  std::map<std::string, bool> flags_;           // path of a mode flag -> its value in the first capture
  bool is_mode_merged_ = true;
  std::set<std::string> written_state_;
};

}  // namespace modulize
