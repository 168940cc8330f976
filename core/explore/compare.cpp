#include "explore/compare.h"

#include <vector>

#include "ir/control.h"
#include "ir/printer.h"
#include "ir/regions.h"
#include "ops/effects_of.h"

namespace modulize {

namespace {

class Comparer {
 public:
  Comparer(const Graph& first, const Graph& second, const SameObject& same_object, Checks checks, Comparison& notes)
      : first_(first),
        second_(second),
        same_object_(same_object),
        checks_(checks),
        notes_(notes),
        partner_(first.id_limit(), kNoNode) {}

  std::optional<Difference> run() {
    NodeId a = first_.first(), b = second_.first();
    for (; a != kNoNode && b != kNoNode; a = first_[a].next, b = second_[b].next) {
      const Node &x = first_[a], &y = second_[b];
      if (x.op != y.op || x.target != y.target)
        return Difference{a, b, describe(first_, x) + " became " + describe(second_, y)};
      partner_[a] = b;
      const bool is_made = is_call_of(x, kCheckMade);
      const bool expects_otherwise =
          x.args.size() >= 3 && y.args.size() >= 3 && same(x.args[0], y.args[0]) && !same(x.args[1], y.args[1]);
      if (is_check(x) && expects_otherwise && checks_ != Checks::equal) {
        if (checks_ == Checks::pass && (!is_made || is_length(x)))
          notes_.other_checks.push_back(a);
        else if (!notes_.waived || !notes_.waived->contains(x.name)) {
          if (is_made) return Difference{a, b, x.args[2].text() + " was something else"};
          notes_.is_whole = false;
          notes_.ended = a, notes_.other_ended = b;
          return std::nullopt;
        }
        continue;
      }
      if (has_role(x, RuntimeRole::leak) && expects_otherwise) {
        notes_.other_leaks.push_back(a);
        continue;
      }
      if (!same(x.callee, y.callee) || x.args.size() != y.args.size() || x.kwargs.size() != y.kwargs.size())
        return Difference{a, b, describe(first_, x) + " was called with other arguments"};
      for (std::size_t i = 0; i < x.args.size(); ++i)
        if (!same(x.args[i], y.args[i])) return argument(a, b, x, std::to_string(i), x.args[i], y.args[i]);
      for (std::size_t i = 0; i < x.kwargs.size(); ++i)
        if (x.kwargs[i].first != y.kwargs[i].first || !same(x.kwargs[i].second, y.kwargs[i].second))
          return argument(a, b, x, "'" + x.kwargs[i].first + "'", x.kwargs[i].second, y.kwargs[i].second);
    }
    if (a == kNoNode && b == kNoNode) return std::nullopt;
    return Difference{a, b, "the number of operations changed"};
  }

 private:
  bool is_length(const Node& check) const {
    return check.args[0].is_node() && modulize::is_length(first_[check.args[0].as_node()]);
  }

  static std::string describe(const Graph&, const Node& node) {
    if (!node.target.empty()) return std::string(node.op == Opcode::call_method ? "Tensor." : "") + node.target;
    return std::string(opcode_name(node.op));
  }

  Difference argument(NodeId id, NodeId other, const Node& node, const std::string& which, const Value& x,
                      const Value& y) const {
    return {id, other,
            "argument " + which + " of " + describe(first_, node) + " was " + print_value(first_, x) + " and became " +
                print_value(second_, y)};
  }

  bool same(const Value& x, const Value& y) const {
    if (x.kind() != y.kind()) return false;
    switch (x.kind()) {
      case ValueKind::node:
        return partner_[x.as_node()] == y.as_node();
      case ValueKind::object:
        return same_object_(x.as_object().id, y.as_object().id);
      case ValueKind::tuple:
      case ValueKind::list:
      case ValueKind::slice: {
        if (x.items().size() != y.items().size()) return false;
        for (std::size_t i = 0; i < x.items().size(); ++i)
          if (!same(x.items()[i], y.items()[i])) return false;
        return true;
      }
      case ValueKind::dict: {
        if (x.dict_items().size() != y.dict_items().size()) return false;
        for (std::size_t i = 0; i < x.dict_items().size(); ++i)
          if (!same(x.dict_items()[i].first, y.dict_items()[i].first) ||
              !same(x.dict_items()[i].second, y.dict_items()[i].second))
            return false;
        return true;
      }
      default:
        return x == y;
    }
  }

  const Graph& first_;
  const Graph& second_;
  const SameObject& same_object_;
  const Checks checks_;
  Comparison& notes_;
  std::vector<NodeId> partner_;
};

}  // namespace

Graph without_unread(const Graph& graph, const std::set<NodeId>& idle) {
  Graph out = graph;
  std::vector<std::uint32_t> uses = use_counts(out);
  const auto erase = [&](NodeId gone) {
    out[gone].for_each_input([&](NodeId in) { --uses[in]; });
    out.erase(gone);
  };
  for (NodeId id = out.last(); id != kNoNode;) {
    const NodeId previous = out[id].prev, next = out[id].next;
    const bool decides = is_call_of(out[id], kTruth) && !idle.contains(id);
    if (is_enter(out[id]) && next != kNoNode && is_leave(out[next])) {
      erase(next);
      erase(id);
    } else if (uses[id] == 0 && !decides && may_go_unread(out[id], out)) {
      erase(id);
    }
    id = previous;
  }
  return out;
}

std::optional<Difference> first_difference(const Graph& first, const Graph& second, const SameObject& same_object,
                                           Checks checks, Comparison* notes) {
  Comparison unread;
  return Comparer(first, second, same_object, checks, notes ? *notes : unread).run();
}

}  // namespace modulize
