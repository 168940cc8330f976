// The characters and tokens of the text form, with their places: what the parser stands on.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "ir/value.h"

namespace modulize {

class TextReader {
 protected:
  explicit TextReader(std::string_view text) : text_(text) {}

  // --- characters ------------------------------------------------------------------------------
  bool at_end() const { return pos_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[pos_]; }
  bool starts_with(std::string_view what) const { return text_.substr(pos_).starts_with(what); }

  // Blanks and comments; line ends too within brackets.
  void skip() {
    for (;;) {
      const char c = peek();
      if (c == ' ' || c == '\t' || c == '\r' || (c == '\n' && brackets_ > 0)) {
        ++pos_;
      } else if (c == '/' && starts_with("//")) {
        const std::size_t end = text_.find('\n', pos_);
        pos_ = end == std::string_view::npos ? text_.size() : end;
      } else {
        return;
      }
    }
  }

  void skip_lines() {
    for (skip(); peek() == '\n'; skip()) ++pos_;
  }

  [[noreturn]] void fail(const std::string& expected) { fail_at(pos_, expected); }

  [[noreturn]] void fail_at(std::size_t at, const std::string& expected) {
    throw_at(at, "expected " + expected + ", found " + describe(at));
  }

  [[noreturn]] void throw_at(std::size_t at, const std::string& message);

  // What stands at `at`, for a message: a word, or a single character.
  std::string describe(std::size_t at) const;

  // --- tokens: each skips blanks first, and leaves pos_ behind the token ---------------------------
  bool accept(char c) {
    skip();
    if (at_end() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(std::string("'") + c + "'");
  }

  // `alternatives` is what else could have stood here: "',' or ')'".
  void expect(char c, const char* alternatives) {
    if (!accept(c)) fail(alternatives);
  }

  void expect_line_end() {
    skip();
    if (at_end() || peek() == '}') return;
    if (peek() != '\n') fail("the end of the line");
    ++pos_;
  }

  bool at_quote() const { return peek() == '"' || peek() == '\''; }

  // [A-Za-z0-9_.]*
  std::string_view peek_word() {
    skip();
    std::size_t end = pos_;
    while (end < text_.size() && (is_word_char(text_[end]) || text_[end] == '.')) ++end;
    return text_.substr(pos_, end - pos_);
  }

  bool accept_word(std::string_view word) {
    if (peek_word() != word) return false;
    pos_ += word.size();
    return true;
  }

  // A plain path or a quoted text.
  std::string parse_path(const char* what);

  // A quote stands at pos_: the text up to the closing one, escapes resolved.
  std::string parse_string();

  void parse_escape(std::string& out);

  template <class Integer>
  Integer parse_integer(const std::string& what) {
    skip();
    const char* const begin = text_.data() + pos_;
    Integer value{};
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc()) fail(what);
    pos_ += static_cast<std::size_t>(end - begin);
    return value;
  }

  // A digit or a minus stands at pos_.
  Value parse_number();

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_word_char(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }

  const std::string_view text_;
  std::size_t pos_ = 0;
  /// Open brackets around pos_: line ends are blanks within.
  int brackets_ = 0;
};

}  // namespace modulize
