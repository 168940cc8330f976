#include "bridge/explore/dtypes.h"

#include <map>
#include <set>
#include <string>

#include "bridge/capture/capture.h"
#include "bridge/record/dtypes.h"
#include "ir/control.h"

namespace modulize {

namespace {

/// Of a decision's two sides with another place each, it has a node for a place: it stays what it is.
bool is_dtype_leak(const Node& node) {
  return is_call_of(node, kLeakDtype) && node.args[3].is(ValueKind::string) && node.args[4].is(ValueKind::integer);
}
const std::string& line_of(const Node& leak) { return leak.args[3].text(); }
std::string place_of(const Node& leak) { return dtype_place(line_of(leak), leak.args[4].as_integer()); }

}  // namespace

void settle_dtypes(nb::handle root, const CaptureOptions& options, Capture& first, const Prediction& predict) {
  Graph& g = first.graph;
  std::set<std::string> places, lines;
  std::map<std::string, std::string> line_at;  // by place
  for (const NodeId id : g.order())
    if (is_dtype_leak(g[id])) {
      line_at[*places.insert(place_of(g[id])).first] = line_of(g[id]);
      lines.insert(line_of(g[id]));
    }
  const auto change_nothing = [&](const std::set<std::string>& tried) {
    CaptureOptions again = options;
    again.tried_dtypes = &tried;
    again.because(CaptureReason::dtype_tried, std::to_string(tried.size()) + " reads");
    Capture second;
    if (!try_capture(root, again, second)) return false;
    if (compare_captures(predict(second), first, second, Checks::equal)) return false;
    for (const NodeId id : g.order()) {
      if (!is_dtype_leak(g[id]) || !tried.contains(place_of(g[id]))) continue;
      Node asked = g[id];
      asked.target = "builtins.getattr";
      asked.args = {g[id].args[0], Value::string("is_floating_point")};
      asked.type = ValueType::number;
      const NodeId is_floating = g.insert_before(id, std::move(asked));
      g[id].target = kCheck;
      g[id].args = {Value::node(is_floating), Value::boolean(true),
                    Value::string("whether the dtype is a floating one"), Value::string(line_of(g[id]))};
    }
    return true;
  };
  constexpr std::size_t kMaxLines = 8;
  if (places.empty() || change_nothing(places) || lines.size() > kMaxLines) return;
  for (const std::string& line : lines) {
    std::set<std::string> tried;
    for (const std::string& place : places)
      if (line_at.at(place) == line) tried.insert(place);
    if (tried != places) change_nothing(tried);
  }
}

}  // namespace modulize
