#include "ir/text_reader.h"

#include <algorithm>

#include "support/error.h"
#include "support/python_repr.h"
#include "support/text.h"

namespace modulize {

void TextReader::throw_at(std::size_t at, const std::string& message) {
  std::size_t line = 1, column = 1;
  for (std::size_t i = 0; i < at; ++i) {
    const unsigned char c = static_cast<unsigned char>(text_[i]);
    if (c == '\n') {
      ++line;
      column = 1;
    } else if ((c & 0xc0) != 0x80) {
      ++column;
    }
  }
  throw Error(ErrorCode::ParseError, std::to_string(line) + ":" + std::to_string(column) + ": " + message);
}

std::string TextReader::describe(std::size_t at) const {
  if (at >= text_.size()) return "the end of the text";
  const char c = text_[at];
  if (c == '\n' || (c == '\r' && text_.substr(at).starts_with("\r\n"))) return "the end of the line";
  std::size_t end = at;
  if (c == '%' || c == '@') ++end;
  while (end < text_.size() && (is_word_char(text_[end]) || text_[end] == '.')) ++end;
  if (end == at) end += decode_code_point(text_.substr(at)).length;
  constexpr std::size_t kShown = 60;
  if (end - at > kShown) return python_repr(text_.substr(at, kShown)) + "...";
  return python_repr(text_.substr(at, end - at));
}

std::string TextReader::parse_path(const char* what) {
  skip();
  if (at_quote()) return parse_string();
  const std::string_view word = peek_word();
  if (!is_plain_path(word)) fail(what);
  pos_ += word.size();
  return std::string(word);
}

std::string TextReader::parse_string() {
  const std::size_t start = pos_;
  const char quote = text_[pos_++];
  std::string out;
  for (;;) {
    // The long stretches between escapes in one go.
    std::size_t end = pos_;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\\' && text_[end] != '\n' &&
           static_cast<unsigned char>(text_[end]) < 0x80)
      ++end;
    out += text_.substr(pos_, end - pos_);
    pos_ = end;
    if (at_end() || text_[pos_] == '\n') throw_at(start, "this text has no closing quote on its line");
    const char c = text_[pos_];
    if (c == quote) {
      ++pos_;
      return out;
    }
    if (c == '\\') {
      parse_escape(out);
      continue;
    }
    const CodePoint point = decode_code_point(text_.substr(pos_));
    if (!point.valid) fail("text in UTF-8");
    out += text_.substr(pos_, point.length);
    pos_ += point.length;
  }
}

void TextReader::parse_escape(std::string& out) {
  const std::size_t start = pos_++;
  const char kind = peek();
  ++pos_;
  std::size_t digits = 0;
  switch (kind) {
    case 'n':
      out += '\n';
      return;
    case 'r':
      out += '\r';
      return;
    case 't':
      out += '\t';
      return;
    case '\\':
    case '\'':
    case '"':
      out += kind;
      return;
    case 'x':
      digits = 2;
      break;
    case 'u':
      digits = 4;
      break;
    case 'U':
      digits = 8;
      break;
    default:
      throw_at(start, "expected an escape (\\n \\r \\t \\\\ \\' \\\" \\xHH \\uHHHH \\UHHHHHHHH), found another");
  }
  const std::string_view hex = text_.substr(std::min(pos_, text_.size()), digits);
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
  if (hex.size() != digits || error != std::errc() || end != hex.data() + hex.size() || value > 0x10ffff)
    throw_at(start, "expected " + std::to_string(digits) + " hexadecimal digits of a code point in this escape");
  append_code_point(out, value);
  pos_ += digits;
}

Value TextReader::parse_number() {
  const std::size_t start = pos_;
  std::size_t end = pos_;
  if (peek() == '-') ++end;
  bool is_float = false;
  while (end < text_.size()) {
    const char c = text_[end];
    if (c == 'e' || c == 'E') {
      is_float = true;
      if (end + 1 < text_.size() && (text_[end + 1] == '+' || text_[end + 1] == '-')) ++end;
    } else if (c == '.') {
      is_float = true;
    } else if (!is_word_char(c)) {
      break;
    }
    ++end;
  }
  const std::string_view token = text_.substr(start, end - start);
  const char* const stop = token.data() + token.size();
  if (is_float) {
    double value = 0;
    const auto [done, error] = std::from_chars(token.data(), stop, value);
    if (error != std::errc() || done != stop) fail("a float within the range of doubles");
    pos_ = end;
    return Value::floating(value);
  }
  std::int64_t value = 0;
  const auto [done, error] = std::from_chars(token.data(), stop, value);
  if (error != std::errc() || done != stop) fail("an integer of 64 bits");
  pos_ = end;
  return Value::integer(value);
}

}  // namespace modulize
