// An argument of a node: a literal, a reference to another node, or a container of such.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace modulize {

/// Index of a node in its Graph; stable while the node lives, and not reused but where Graph::truncate took it back.
using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xffffffffu;

/// Number of an opaque Python object. The core carries the number, the bridge owns the object.
using ObjectId = std::uint32_t;

enum class ValueKind : std::uint8_t {
  none,
  boolean,
  integer,
  floating,
  ellipsis,
  node,
  object,
  string,
  name,  // a qualified Python name: torch.float32
  tuple,
  list,
  dict,
  slice,
};

class Value;
using ValueList = std::vector<Value>;
using ValueDict = std::vector<std::pair<Value, Value>>;

/// An opaque Python object. `label` is for people ("<function f>"); two objects are equal by id.
struct ObjectRef {
  ObjectId id;
  std::shared_ptr<const std::string> label;
};

/// Immutable, cheap to copy: containers and texts are shared.
/// Thread: a Value may be read by several threads, as its shared parts are const.
class Value {
 public:
  Value() = default;  // None

  static Value none() { return Value(); }
  static Value boolean(bool v) { return Value(Data(v)); }
  static Value integer(std::int64_t v) { return Value(Data(v)); }
  static Value floating(double v) { return Value(Data(v)); }
  static Value ellipsis() { return Value(Data(Ellipsis{})); }
  static Value node(NodeId id) { return Value(Data(NodeRef{id})); }
  static Value object(ObjectId id, std::string label);
  static Value string(std::string text);
  static Value name(std::string qualified);
  static Value tuple(ValueList items);
  static Value list(ValueList items);
  static Value dict(ValueDict items);
  static Value slice(Value start, Value stop, Value step);

  ValueKind kind() const { return static_cast<ValueKind>(data_.index()); }
  bool is(ValueKind k) const { return kind() == k; }
  bool is_none() const { return is(ValueKind::none); }
  bool is_node() const { return is(ValueKind::node); }

  // Each accessor requires the matching kind (checked: std::bad_variant_access).
  bool as_boolean() const { return std::get<bool>(data_); }
  std::int64_t as_integer() const { return std::get<std::int64_t>(data_); }
  double as_floating() const { return std::get<double>(data_); }
  NodeId as_node() const { return std::get<NodeRef>(data_).id; }
  const ObjectRef& as_object() const { return std::get<ObjectRef>(data_); }
  /// The text of a string or a name.
  const std::string& text() const;
  /// The items of a tuple, list or slice (start, stop, step).
  const ValueList& items() const;
  const ValueDict& dict_items() const { return *std::get<Dict>(data_).items; }

  /// Structural equality; floats by bits, so that nan equals nan and 0.0 differs from -0.0;
  /// True differs from 1, as it does in generated source.
  friend bool operator==(const Value& a, const Value& b);

  /// Calls `fn(NodeId)` for every node reference inside, left to right.
  template <class Fn>
  void for_each_node(Fn&& fn) const;

  /// A copy of a container in which every item and key became `fn(item)` (a Value); any other value itself.
  template <class Fn>
  Value map_items(Fn&& fn) const;

  /// A copy in which every node reference `id` became `fn(id)` (a Value). Shares what did not change.
  template <class Fn>
  Value map_nodes(Fn&& fn) const;

  /// True if any node reference is inside.
  bool has_node() const;

 private:
  struct NodeRef {
    NodeId id;
  };
  struct Ellipsis {};
  struct String {
    std::shared_ptr<const std::string> text;
  };
  struct Name {
    std::shared_ptr<const std::string> text;
  };
  struct Tuple {
    std::shared_ptr<const ValueList> items;
  };
  struct List {
    std::shared_ptr<const ValueList> items;
  };
  struct Dict {
    std::shared_ptr<const ValueDict> items;
  };
  struct Slice {
    std::shared_ptr<const ValueList> items;
  };
  // In the order of ValueKind.
  using Data = std::variant<std::monostate, bool, std::int64_t, double, Ellipsis, NodeRef, ObjectRef, String, Name,
                            Tuple, List, Dict, Slice>;
  explicit Value(Data data) : data_(std::move(data)) {}

  Data data_;
};

template <class Fn>
void Value::for_each_node(Fn&& fn) const {
  switch (kind()) {
    case ValueKind::node:
      fn(as_node());
      break;
    case ValueKind::tuple:
    case ValueKind::list:
    case ValueKind::slice:
      for (const Value& item : items()) item.for_each_node(fn);
      break;
    case ValueKind::dict:
      for (const auto& [key, item] : dict_items()) {
        key.for_each_node(fn);
        item.for_each_node(fn);
      }
      break;
    default:
      break;
  }
}

template <class Fn>
Value Value::map_items(Fn&& fn) const {
  if (is(ValueKind::dict)) {
    ValueDict out;
    out.reserve(dict_items().size());
    for (const auto& [key, item] : dict_items()) {
      Value mapped = fn(key);
      out.emplace_back(std::move(mapped), fn(item));
    }
    return dict(std::move(out));
  }
  if (!is(ValueKind::tuple) && !is(ValueKind::list) && !is(ValueKind::slice)) return *this;
  ValueList out;
  out.reserve(items().size());
  for (const Value& item : items()) out.push_back(fn(item));
  if (is(ValueKind::tuple)) return tuple(std::move(out));
  if (is(ValueKind::list)) return list(std::move(out));
  return slice(std::move(out[0]), std::move(out[1]), std::move(out[2]));
}

template <class Fn>
Value Value::map_nodes(Fn&& fn) const {
  if (is_node()) return fn(as_node());
  if (!has_node()) return *this;
  return map_items([&](const Value& item) { return item.map_nodes(fn); });
}

}  // namespace modulize
