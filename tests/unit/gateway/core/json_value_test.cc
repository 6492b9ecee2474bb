// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/json_value.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway {
namespace {

using ballast::testing::StatusIs;
using ::testing::HasSubstr;

std::string Compact(absl::string_view text) {
  const auto value = ParseJson(text);
  return value.ok() ? CompactText(*value) : std::string(value.status().message());
}

TEST(JsonValueTest, EqualValuesHaveEqualText) {
  const std::vector<std::vector<std::string>> equal = {
      {"1", "1.0", "1e0", "10e-1", " 1 "}, {"0", "-0", "0.0", "-0.0", "0e5"},
      {"0.5", "5e-1", "0.50", "500e-3"},   {"{\"a\":1,\"b\":2}", "{ \"b\" : 2 , \"a\" : 1.0 }"},
      {"\"\xc3\xa9\"", "\"\\u00e9\""},     {"\"/\"", "\"\\/\""},
      {"[1,[],{}]", "[1 , [ ] , { } ]"}};
  for (const auto& texts : equal) {
    for (const std::string& text : texts) {
      EXPECT_EQ(Compact(text), texts.front()) << text;
    }
  }
}

TEST(JsonValueTest, KeepsWhatADoubleWouldLose) {
  for (const std::string text :
       {"9223372036854775807", "-9223372036854775808", "18446744073709551615",
        "123456789012345678901234567890", "0.1234567890123456789", "1e+300", "true", "null"}) {
    EXPECT_EQ(Compact(text), text);
  }
}

TEST(JsonValueTest, EscapesWhatMustBe) {
  EXPECT_EQ(Compact("\"\\u0000\\u001f\\n\\t\\\"\\\\\\u007f\""),
            "\"\\u0000\\u001f\\n\\t\\\"\\\\\x7f\"");
}

TEST(JsonValueTest, RefusesWhatIsNoUnambiguousJson) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"", "no JSON"},
      {"{", "no JSON"},
      {"{} x", "no JSON"},
      {"\"\\ud800\"", "not Unicode"},
      {"\"\\udc00\\ud800\"", "not Unicode"},
      {"\"\xff\"", "not Unicode"},
      {"\"\xed\xa0\x80\"", "not Unicode"},
      {"\"\xc0\x80\"", "not Unicode"},
      {"1e999", "beyond the range"},
      {"-1e999", "beyond the range"},
      {std::string(400, '9'), "beyond the range"},
      {"{\"a\":1,\"b\":2,\"a\":1}", "'a' stands twice"},
      {"{\"a\":1,\"\\u0061\":1}", "'a' stands twice"},
      {"[{\"x\":{\"y\":1,\"y\":2}}]", "'y' stands twice"},
      {std::string(65, '[') + std::string(65, ']'), "nested deeper than 64"}};
  for (const auto& [text, problem] : bad) {
    const auto parsed = ParseJson(text);
    EXPECT_THAT(parsed, StatusIs(absl::StatusCode::kInvalidArgument)) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(problem)) << text;
  }
  EXPECT_TRUE(ParseJson("\"\\ud83d\\ude00\"").ok());
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']')).ok());
}

TEST(JsonValueTest, CountsValues) {
  const JsonLimits limits = {.values_max = 3};
  EXPECT_TRUE(ParseJson("[1,2]", limits).ok());
  EXPECT_FALSE(ParseJson("[1,2,3]", limits).ok());
  EXPECT_FALSE(ParseJson("[{},{},[]]", limits).ok());
}

TEST(JsonValueTest, NumbersAreWhatTheyAre) {
  const auto value = [](absl::string_view text) { return *ParseJson(text); };
  EXPECT_EQ(value("7").AsUint64(), 7u);
  EXPECT_EQ(value("7.0").AsUint64(), 7u);
  EXPECT_EQ(value("18446744073709551615").AsUint64(), ~uint64_t{0});
  EXPECT_EQ(value("-1").AsUint64(), std::nullopt);
  EXPECT_EQ(value("7.5").AsUint64(), std::nullopt);
  EXPECT_EQ(value("\"7\"").AsUint64(), std::nullopt);
  EXPECT_EQ(value("7.5").AsDouble(), 7.5);
  EXPECT_EQ(value("18446744073709551616").AsDouble(), 18446744073709551616.0);
  EXPECT_EQ(value("-3").AsDouble(), -3);
  EXPECT_EQ(value("true").AsDouble(), std::nullopt);
}

TEST(JsonValueTest, ExcerptsEndBetweenCharacters) {
  EXPECT_EQ(Excerpt("abc", 3), "abc");
  EXPECT_EQ(Excerpt("abcd", 3), "abc...");
  EXPECT_EQ(Excerpt("ab\xc3\xa9", 3), "ab...");
  EXPECT_EQ(Excerpt("a\xf0\x9f\x98\x80", 4), "a...");
}

TEST(JsonValueTest, KnowsUtf8) {
  for (const std::string text :
       {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xee\x80\x80"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
  for (const std::string text :
       {"\xff", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"}) {
    EXPECT_FALSE(IsUtf8(text)) << text;
  }
}

}  // namespace
}  // namespace ballast::gateway
