#include "ops/signature.h"

#include <cctype>
#include <charconv>

#include "support/error.h"

namespace modulize {

namespace {

[[noreturn]] void fail(std::string_view text, const std::string& what) {
  throw Error(ErrorCode::ModulizeError, "op table: " + what + " in '" + std::string(text) + "'");
}

// "(1, 2)" -> its items; the text starts and ends with brackets.
ValueList parse_items(std::string_view text) {
  ValueList items;
  for (const std::string_view item : split_list(text.substr(1, text.size() - 2))) items.push_back(parse_literal(item));
  return items;
}

}  // namespace

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> out;
  int depth = 0;
  char quote = 0;
  std::size_t begin = 0;
  const auto take = [&](std::size_t end) {
    const std::string_view item = trim(text.substr(begin, end - begin));
    if (!item.empty()) out.push_back(item);
    begin = end + 1;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '(' || c == '[' || c == '{') {
      ++depth;
    } else if (c == ')' || c == ']' || c == '}') {
      --depth;
    } else if (c == ',' && depth == 0) {
      take(i);
    }
  }
  take(text.size());
  return out;
}

Value parse_literal(std::string_view text) {
  text = trim(text);
  if (text.empty()) fail(text, "a value is missing");
  if (text == "None") return Value::none();
  if (text == "True") return Value::boolean(true);
  if (text == "False") return Value::boolean(false);
  const char first = text.front(), last = text.back();
  if (first == '\'' || first == '"') {
    if (text.size() < 2 || last != first) fail(text, "an open quote");
    return Value::string(std::string(text.substr(1, text.size() - 2)));
  }
  if (first == '(' && last == ')') return Value::tuple(parse_items(text));
  if (first == '[' && last == ']') return Value::list(parse_items(text));
  if (std::isdigit(static_cast<unsigned char>(first)) || first == '-' || first == '.') {
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    if (text.find_first_of(".e") == std::string_view::npos) {
      std::int64_t number = 0;
      const auto [rest, error] = std::from_chars(begin, end, number);
      if (error != std::errc() || rest != end) fail(text, "a malformed integer");
      return Value::integer(number);
    }
    double number = 0;
    const auto [rest, error] = std::from_chars(begin, end, number);
    if (error != std::errc() || rest != end) fail(text, "a malformed number");
    return Value::floating(number);
  }
  return Value::name(std::string(text));
}

std::vector<Parameter> parse_signature(std::string_view text) {
  std::vector<Parameter> out;
  bool keyword_only = false;
  for (std::string_view item : split_list(text)) {
    if (item == "*") {
      keyword_only = true;
      continue;
    }
    Parameter parameter;
    if (item.starts_with("**")) {
      parameter.kind = Parameter::Kind::var_keyword;
      parameter.name = item.substr(2);
    } else if (item.starts_with("*")) {
      parameter.kind = Parameter::Kind::var_positional;
      parameter.name = item.substr(1);
      keyword_only = true;
    } else {
      if (keyword_only) parameter.kind = Parameter::Kind::keyword_only;
      const std::size_t equals = item.find('=');
      parameter.name = trim(item.substr(0, equals));
      if (equals != std::string_view::npos) {
        parameter.has_default = true;
        parameter.default_value = parse_literal(item.substr(equals + 1));
      }
    }
    if (parameter.name.empty()) fail(text, "a parameter without a name");
    out.push_back(std::move(parameter));
  }
  return out;
}

}  // namespace modulize
