#include "support/text.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/python_repr.h"

namespace modulize {
namespace {

const double kInfinity = std::numeric_limits<double>::infinity();

// The right-hand sides are what CPython prints.
TEST(PythonRepr, floats_are_spelled_as_cpython_spells_them) {
  const std::pair<double, const char*> table[] = {
      {0.0, "0.0"},
      {-0.0, "-0.0"},
      {1.0, "1.0"},
      {-1.5, "-1.5"},
      {100000.0, "100000.0"},
      {1e15, "1000000000000000.0"},
      {1e16, "1e+16"},
      {12345678901234567.0, "1.2345678901234568e+16"},
      {9999999999999998.0, "9999999999999998.0"},
      {0.1, "0.1"},
      {0.0001, "0.0001"},
      {0.00001, "1e-05"},
      {0.00012345, "0.00012345"},
      {1.5e-7, "1.5e-07"},
      {1e100, "1e+100"},
      {1e-100, "1e-100"},
      {5e-324, "5e-324"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {2.2250738585072014e-308, "2.2250738585072014e-308"},
      {0.1 + 0.2, "0.30000000000000004"},
      {123456.789, "123456.789"},
      {kInfinity, "float(\"inf\")"},
      {-kInfinity, "float(\"-inf\")"},
      {std::numeric_limits<double>::quiet_NaN(), "float(\"nan\")"},
      {-std::numeric_limits<double>::quiet_NaN(), "float(\"nan\")"},
  };
  for (const auto& [value, text] : table) EXPECT_EQ(python_repr(value), text);
}

TEST(PythonRepr, ints_reach_both_ends) {
  EXPECT_EQ(python_repr(std::int64_t{0}), "0");
  EXPECT_EQ(python_repr(std::numeric_limits<std::int64_t>::max()), "9223372036854775807");
  EXPECT_EQ(python_repr(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
}

TEST(PythonRepr, strings_are_spelled_as_cpython_spells_them) {
  const std::pair<std::string, const char*> table[] = {
      {"", "''"},
      {"plain", "'plain'"},
      {"it's", "\"it's\""},
      {"\"", "'\"'"},
      {"'\"", "'\\'\"'"},
      {"a\\b", "'a\\\\b'"},
      {"\n\r\t", "'\\n\\r\\t'"},
      {std::string("\0\x01\x1f\x7f", 4), "'\\x00\\x01\\x1f\\x7f'"},
      {"\xc3\xa9", "'\xc3\xa9'"},                              // e with acute accent
      {"\xc2\x80\xc2\xa0\xc2\xad", "'\\x80\\xa0\\xad'"},       // a control, no-break space, soft hyphen
      {"\xe2\x80\xa8", "'\\u2028'"},                           // line separator
      {"\xef\xbf\xbf", "'\\uffff'"},                           // not a character
      {"\xee\x80\x80", "'\\ue000'"},                           // private use
      {"\xed\xa0\x80", "'\\ud800'"},                           // a lone surrogate
      {"\xed\xa0\xbd\xed\xb8\x80", "'\\ud83d\\ude00'"},        // a pair stays two
      {"\xf0\x9f\x98\x80", "'\xf0\x9f\x98\x80'"},              // a face
      {"\xf3\xa0\x80\x81", "'\\U000e0001'"},                   // a tag
      {"\xf4\x8f\xbf\xbf", "'\\U0010ffff'"},                   // the last code point
      {"\xff", "'\\udcff'"},                                   // no UTF-8
      {"\xc3", "'\\udcc3'"},                                   // cut off
      {"\xc0\x80", "'\\udcc0\\udc80'"},                        // overlong
      {"\xf4\x90\x80\x80", "'\\udcf4\\udc90\\udc80\\udc80'"},  // past the last code point
  };
  for (const auto& [value, text] : table) EXPECT_EQ(python_repr(value), text);
}

TEST(PythonRepr, quoted_always_takes_double_quotes) {
  EXPECT_EQ(quoted("a'b"), "\"a'b\"");
  EXPECT_EQ(quoted("a\"b\\"), "\"a\\\"b\\\\\"");
}

TEST(Text, identifiers_and_paths) {
  for (const char* text : {"a", "_", "x1", "None"}) EXPECT_TRUE(is_identifier(text)) << text;
  for (const char* text : {"", "1x", "a.b", "a b", "\xc3\xa9"}) EXPECT_FALSE(is_identifier(text)) << text;
  for (const char* text : {"0", "layer1.0.conv1", "a"}) EXPECT_TRUE(is_plain_path(text)) << text;
  for (const char* text : {"", ".", "a.", ".a", "a..b", "a b", "<locals>"}) EXPECT_FALSE(is_plain_path(text)) << text;
  for (const char* text : {"torch.float32", "x"}) EXPECT_TRUE(is_qualified_name(text)) << text;
  for (const char* text : {"", "a.0", "0.a", "a."}) EXPECT_FALSE(is_qualified_name(text)) << text;
}

TEST(Text, every_keyword_is_one) {
  for (const char* text : {"False", "None", "and", "lambda", "nonlocal", "with", "yield"})
    EXPECT_TRUE(is_python_keyword(text)) << text;
  for (const char* text : {"", "print", "match", "false", "zzz"}) EXPECT_FALSE(is_python_keyword(text)) << text;
}

TEST(Text, code_points_survive_encoding_and_decoding) {
  for (std::uint32_t value = 0; value <= 0x10ffff; value += value < 0x11000 ? 1 : 251) {
    std::string text;
    append_code_point(text, value);
    const CodePoint point = decode_code_point(text);
    ASSERT_TRUE(point.valid) << value;
    ASSERT_EQ(point.value, value);
    ASSERT_EQ(point.length, text.size());
  }
}

TEST(Text, edit_distance_counts_edits) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("dead_code", "dead_code"), 0u);
  EXPECT_EQ(edit_distance("dead_cod", "dead_code"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

}  // namespace
}  // namespace modulize
