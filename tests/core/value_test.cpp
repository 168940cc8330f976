#include "ir/value.h"

#include <gtest/gtest.h>

#include <limits>

namespace modulize {
namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Value, every_factory_yields_its_kind) {
  EXPECT_EQ(Value().kind(), ValueKind::none);
  EXPECT_EQ(Value::boolean(true).kind(), ValueKind::boolean);
  EXPECT_EQ(Value::integer(1).kind(), ValueKind::integer);
  EXPECT_EQ(Value::floating(1).kind(), ValueKind::floating);
  EXPECT_EQ(Value::ellipsis().kind(), ValueKind::ellipsis);
  EXPECT_EQ(Value::node(1).kind(), ValueKind::node);
  EXPECT_EQ(Value::object(1, "f").kind(), ValueKind::object);
  EXPECT_EQ(Value::string("x").kind(), ValueKind::string);
  EXPECT_EQ(Value::name("x").kind(), ValueKind::name);
  EXPECT_EQ(Value::tuple({}).kind(), ValueKind::tuple);
  EXPECT_EQ(Value::list({}).kind(), ValueKind::list);
  EXPECT_EQ(Value::dict({}).kind(), ValueKind::dict);
  EXPECT_EQ(Value::slice({}, {}, {}).kind(), ValueKind::slice);
}

TEST(Value, equality_is_that_of_the_source_text) {
  EXPECT_NE(Value::boolean(true), Value::integer(1));
  EXPECT_NE(Value::integer(1), Value::floating(1.0));
  EXPECT_NE(Value::floating(0.0), Value::floating(-0.0));
  EXPECT_EQ(Value::floating(kNan), Value::floating(kNan));
  EXPECT_NE(Value::string("torch"), Value::name("torch"));
  EXPECT_NE(Value::tuple({Value::integer(1)}), Value::list({Value::integer(1)}));
  EXPECT_EQ(Value::object(7, "one label"), Value::object(7, "another"));
  EXPECT_NE(Value::object(7, "label"), Value::object(8, "label"));
  EXPECT_EQ(Value::dict({{Value::integer(1), Value::node(2)}}), Value::dict({{Value::integer(1), Value::node(2)}}));
  EXPECT_NE(Value::dict({{Value::integer(1), Value::node(2)}}), Value::dict({{Value::integer(1), Value::node(3)}}));
  EXPECT_EQ(Value::slice({}, Value::integer(2), {}), Value::slice({}, Value::integer(2), {}));
}

TEST(Value, the_wrong_accessor_throws) {
  EXPECT_THROW(Value::integer(1).as_boolean(), std::bad_variant_access);
  EXPECT_THROW(Value::integer(1).items(), std::bad_variant_access);
  EXPECT_THROW(Value::integer(1).text(), std::bad_variant_access);
  EXPECT_THROW(Value::tuple({}).dict_items(), std::bad_variant_access);
}

Value nested() {
  return Value::tuple({Value::node(1), Value::list({Value::node(2), Value::integer(5)}),
                       Value::dict({{Value::node(3), Value::node(1)}}), Value::slice({}, Value::node(4), {})});
}

TEST(Value, nodes_are_visited_left_to_right) {
  std::vector<NodeId> seen;
  nested().for_each_node([&](NodeId id) { seen.push_back(id); });
  EXPECT_EQ(seen, (std::vector<NodeId>{1, 2, 3, 1, 4}));
  EXPECT_TRUE(nested().has_node());
  EXPECT_FALSE(Value::tuple({Value::list({Value::integer(1)})}).has_node());
}

TEST(Value, map_nodes_replaces_everywhere_and_keeps_the_rest) {
  const Value mapped =
      nested().map_nodes([](NodeId id) { return id == 1 ? Value::string("one") : Value::node(id + 10); });
  EXPECT_EQ(mapped, Value::tuple({Value::string("one"), Value::list({Value::node(12), Value::integer(5)}),
                                  Value::dict({{Value::node(13), Value::string("one")}}),
                                  Value::slice({}, Value::node(14), {})}));
}

TEST(Value, map_nodes_shares_what_holds_no_node) {
  const Value list = Value::list({Value::integer(1)});
  const Value mapped = Value::tuple({list, Value::node(1)}).map_nodes([](NodeId) { return Value::none(); });
  EXPECT_EQ(&mapped.items()[0].items(), &list.items());
}

}  // namespace
}  // namespace modulize
