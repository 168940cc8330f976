#include "ir/value.h"

#include <bit>

namespace modulize {

Value Value::object(ObjectId id, std::string label) {
  return Value(Data(ObjectRef{id, std::make_shared<const std::string>(std::move(label))}));
}
Value Value::string(std::string text) {
  return Value(Data(String{std::make_shared<const std::string>(std::move(text))}));
}
Value Value::name(std::string qualified) {
  return Value(Data(Name{std::make_shared<const std::string>(std::move(qualified))}));
}
Value Value::tuple(ValueList items) { return Value(Data(Tuple{std::make_shared<const ValueList>(std::move(items))})); }
Value Value::list(ValueList items) { return Value(Data(List{std::make_shared<const ValueList>(std::move(items))})); }
Value Value::dict(ValueDict items) { return Value(Data(Dict{std::make_shared<const ValueDict>(std::move(items))})); }
Value Value::slice(Value start, Value stop, Value step) {
  return Value(
      Data(Slice{std::make_shared<const ValueList>(ValueList{std::move(start), std::move(stop), std::move(step)})}));
}

const std::string& Value::text() const {
  if (const String* s = std::get_if<String>(&data_)) return *s->text;
  return *std::get<Name>(data_).text;
}

const ValueList& Value::items() const {
  if (const Tuple* t = std::get_if<Tuple>(&data_)) return *t->items;
  if (const List* l = std::get_if<List>(&data_)) return *l->items;
  return *std::get<Slice>(data_).items;
}

bool operator==(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case ValueKind::none:
    case ValueKind::ellipsis:
      return true;
    case ValueKind::boolean:
      return a.as_boolean() == b.as_boolean();
    case ValueKind::integer:
      return a.as_integer() == b.as_integer();
    case ValueKind::floating:
      return std::bit_cast<std::uint64_t>(a.as_floating()) == std::bit_cast<std::uint64_t>(b.as_floating());
    case ValueKind::node:
      return a.as_node() == b.as_node();
    case ValueKind::object:
      return a.as_object().id == b.as_object().id;
    case ValueKind::string:
    case ValueKind::name:
      return a.text() == b.text();
    case ValueKind::tuple:
    case ValueKind::list:
    case ValueKind::slice:
      return a.items() == b.items();
    case ValueKind::dict:
      return a.dict_items() == b.dict_items();
  }
  return false;
}

bool Value::has_node() const {
  switch (kind()) {
    case ValueKind::node:
      return true;
    case ValueKind::tuple:
    case ValueKind::list:
    case ValueKind::slice:
      for (const Value& item : items())
        if (item.has_node()) return true;
      return false;
    case ValueKind::dict:
      for (const auto& [key, item] : dict_items())
        if (key.has_node() || item.has_node()) return true;
      return false;
    default:
      return false;
  }
}

}  // namespace modulize
