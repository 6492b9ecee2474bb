// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/message_reader.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

// An envelope in one line, with a number to know it by.
std::string Envelope(int id) {
  return absl::StrCat(R"({"src":"c","dest":"n","body":{"msg_id":)", id, "}}");
}

// What was found: a value's text, or "bad@LINE problem src/msg_id".
class Found : public ReaderSink {
 public:
  std::vector<std::string> events;
  void OnValue(std::string text, uint64_t /*line*/) override { events.push_back(std::move(text)); }
  void OnBadValue(absl::string_view problem, const EnvelopeFacts& facts, uint64_t line) override {
    const auto told = [](const EnvelopeFacts::Field& field) {
      return field.told ? field.literal : "?";
    };
    events.push_back(
        absl::StrCat("bad@", line, " ", problem, " ", told(facts.src), "/", told(facts.msg_id)));
  }
};

std::vector<std::string> Read(absl::string_view input, size_t piece,
                              const ReaderLimits& limits = {}) {
  Found found;
  MessageReader reader(limits);
  for (size_t at = 0; at < input.size(); at += piece) {
    reader.Feed(input.substr(at, piece), found);
  }
  reader.Finish(found);
  return found.events;
}

constexpr char kNoJson[] = "this is no JSON ?/?";
constexpr char kUnfinished[] = "the value is not finished ?/?";

TEST(MessageReaderTest, FindsTheWayBackAfterEveryKindOfGarbage) {
  const std::string m1 = Envelope(1);
  const std::string m2 = Envelope(2);
  const std::string m3 = Envelope(3);
  const std::string pretty = "{\n \"src\":\"c\",\n \"body\":{\n  \"msg_id\":4\n }\n}";
  const auto bad = [](int line, absl::string_view what) {
    return absl::StrCat("bad@", line, " ", what);
  };
  struct Case {
    std::string input;
    std::vector<std::string> events;
  };
  const std::vector<Case> cases = {
      // plain streams
      {"", {}},
      {"\n \r\n\t\n", {}},
      {m1, {m1}},
      {m1 + "\n" + m2 + "\n", {m1, m2}},
      {m1 + "\r\n" + m2 + "\r\n", {m1, m2}},
      {m1 + m2 + " " + m3, {m1, m2, m3}},
      {pretty + "\n" + pretty, {pretty, pretty}},
      {m1 + pretty + m2, {m1, pretty, m2}},
      {"\xef\xbb\xbf" + m1 + "\n", {m1}},
      {"1 true [1]", {"1", "true", "[1]"}},
      // garbage in its own line
      {"garbage\n" + m1, {bad(1, kNoJson), m1}},
      {m1 + " garbage " + m2 + "\n" + m3, {m1, bad(1, kNoJson), m3}},
      {"}\n" + m1, {bad(1, kNoJson), m1}},
      {"{\"src\":\"c\",\"body\":{\"msg_id\":7,]\n" + m1, {bad(1, "this is no JSON c/7"), m1}},
      {"\xef\xbb\n" + m1, {bad(1, kNoJson), m1}},
      {m1 + "\n\xef\xbb\xbf" + m2 + "\n" + m3, {m1, bad(2, kNoJson), m3}},
      {"\"no end\n" + m1, {bad(1, kNoJson), m1}},
      {std::string("\0\n", 2) + m1, {bad(1, kNoJson), m1}},
      // an unfinished value and an envelope that is a line
      {"{\"a\":\n" + m1 + "\n" + m2, {bad(2, kUnfinished), m1, m2}},
      {"[\n" + m1 + "\n]\n" + m2, {bad(2, kUnfinished), m1, bad(3, kNoJson), m2}},
      {"[\n  " + m1 + " \r\n" + m2, {bad(2, kUnfinished), m1, m2}},
      {"[\n\n \n" + m1, {bad(4, kUnfinished), m1}},
      // no envelope alone: the value goes on
      {"[\n" + m1 + ",\n" + m2 + ",\n3]" + m3, {"[\n" + m1 + ",\n" + m2 + ",\n3]", m3}},
      {"[\n{\"src\":\"c\",\"dest\":\"n\",\"body\":5}\n]",
       {"[\n{\"src\":\"c\",\"dest\":\"n\",\"body\":5}\n]"}},
      {"[\n{\"src\":\"c\",\"body\":{}}\n]", {"[\n{\"src\":\"c\",\"body\":{}}\n]"}},
      // it goes wrong in a later line: that one is read anew
      {"{\n" + pretty, {bad(2, kNoJson), pretty}},
      {"{\"a\":\n" + m1 + m2 + "\n" + m3, {bad(2, kNoJson), m1, m2, m3}},
      {"[1,\n2,\n] x\n" + m1, {bad(3, kNoJson), bad(3, kNoJson), m1}},
      {"[\n\"x\n" + m1, {bad(2, kNoJson), bad(2, kNoJson), m1}},
      {m1 + " [\n} " + m2 + "\n" + m3, {m1, bad(2, kNoJson), bad(2, kNoJson), m3}},
      {"[1,\n" + m1 + " 2]\n" + m2, {bad(2, kNoJson), m1, "2", bad(2, kNoJson), m2}},
      // the end
      {"{\"src\":\"c\",\"body\":{\"msg_id\":5,", {bad(1, "the value is not finished c/5")}},
      {m1 + "\n[[", {m1, bad(2, kUnfinished)}},
      {"[\n" + m1, {bad(2, kUnfinished), m1}},
      {"[\n" + m1 + ",", {bad(2, kUnfinished), m1, bad(2, kNoJson)}},
      {"[\n1,\n", {bad(3, kUnfinished)}},
      {"[\n[", {bad(2, kUnfinished), bad(2, kUnfinished)}},
      {"-", {bad(1, kUnfinished)}},
      {"\xef", {bad(1, kNoJson)}},
  };
  for (const Case& c : cases) {
    for (const size_t piece : {1, 2, 3, 7, 1 << 20}) {
      EXPECT_EQ(Read(c.input, piece), c.events) << "piece " << piece << " of\n" << c.input;
    }
  }
}

TEST(MessageReaderTest, BoundsLengthAndDepth) {
  const ReaderLimits limits = {.value_bytes_max = 100, .depth_max = 5};
  const std::string m1 = Envelope(1);
  const std::string fits = "\"" + std::string(98, 'x') + "\"";
  const std::string longer = "\"" + std::string(99, 'x') + "\"";
  const std::string deep = "[[[[[[1]]]]]]";
  const std::string told_late =
      absl::StrCat("{\"body\":{\"value\":", longer, ",\"msg_id\":8},\"src\":\"c\"}");
  const std::string deep_told_late =
      absl::StrCat("{\"body\":{\"value\":", deep, ",\"msg_id\":8},\"src\":\"c\"}");
  const std::string too_long = "the value is longer than 16 MiB ";
  const std::string too_deep = "the value is nested deeper than 64 levels ";
  struct Case {
    std::string input;
    std::vector<std::string> events;
  };
  const std::vector<Case> cases = {
      {fits + "\n" + m1, {fits, m1}},
      {longer + "\n" + m1, {"bad@1 " + too_long + "?/?", m1}},
      {longer + m1 + "\n" + m1, {"bad@1 " + too_long + "?/?", m1}},
      {deep + "\n" + m1, {"bad@1 " + too_deep + "?/?", m1}},
      {deep + m1 + "\n" + m1, {"bad@1 " + too_deep + "?/?", m1}},
      // what comes behind the place where it went wrong still tells the sender
      {told_late + "\n" + m1, {"bad@1 " + too_long + "c/8", m1}},
      {deep_told_late + "\n" + m1, {"bad@1 " + too_deep + "c/8", m1}},
      {told_late, {"bad@1 " + too_long + "c/8"}},
      {"{\"body\":{\"msg_id\":8,\"v\":" + deep + "x\n" + m1, {"bad@1 " + too_deep + "?/8", m1}},
      {"[[[[[[\n" + m1, {"bad@1 " + too_deep + "?/?", m1}},
      // in a later line
      {"[\n[[[[[1]]]]]\n" + m1, {"bad@2 " + too_deep + "?/?", "[[[[[1]]]]]", m1}},
      {"[\n" + fits + "\n" + m1, {"bad@2 " + too_long + "?/?", fits, m1}},
      {"[\n" + longer + "\n" + m1, {"bad@2 " + too_long + "?/?", "bad@2 " + too_long + "?/?", m1}},
      {"[" + std::string(150, '\n') + m1, {"bad@100 " + too_long + "?/?", m1}},
      {"[\n" + std::string(150, ' ') + m1, {"bad@2 " + too_long + "?/?", m1}},
      {"[\n" + std::string(60, '\n') + m1 + "\n", {"bad@62 the value is not finished ?/?", m1}},
      {"[\n{\"a\":" + longer + "}\n" + m1,
       {"bad@2 " + too_long + "?/?", "bad@2 " + too_long + "?/?", m1}},
  };
  for (const Case& c : cases) {
    for (const size_t piece : {1, 2, 3, 7, 1 << 20}) {
      EXPECT_EQ(Read(c.input, piece, limits), c.events) << "piece " << piece << " of\n" << c.input;
    }
  }
}

TEST(MessageReaderTest, FindsAValueWithItsLastByte) {
  Found found;
  MessageReader reader;
  const std::string message = Envelope(1);
  reader.Feed(message.substr(0, message.size() - 1), found);
  EXPECT_TRUE(found.events.empty());
  reader.Feed(message.substr(message.size() - 1), found);
  EXPECT_THAT(found.events, ElementsAre(message));
}

std::string RandomGarbage(Rng& rng) {
  static const auto* const kPieces =
      new std::vector<std::string>{"{",
                                   "}",
                                   "[",
                                   "]",
                                   "\"",
                                   ",",
                                   ":",
                                   "\\",
                                   "\n",
                                   "\n",
                                   " ",
                                   "\r\n",
                                   "1",
                                   "null",
                                   "\"a\":",
                                   "\"src\":\"x\"",
                                   "{\"src\":\"c\",\"dest\":\"n\",\"body\":{}}",
                                   "\xff",
                                   std::string(1, '\0'),
                                   "[[[[[[[[",
                                   "{\"a\":{\"b\":",
                                   "-",
                                   "1e",
                                   "tru",
                                   "\"\\u12",
                                   "{\"src\":\"c\",\"body\":{\"msg_id\":1,"};
  std::string garbage;
  const size_t count = rng.Below(30);
  for (size_t i = 0; i < count; ++i) {
    garbage += (*kPieces)[rng.Below(kPieces->size())];
  }
  return garbage;
}

TEST(MessageReaderTest, LinesThatAreEnvelopesAreFoundInAnyGarbage) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    std::string input;
    std::vector<std::string> wanted;
    for (int i = 0; i < 20; ++i) {
      wanted.push_back(Envelope(1000 + i));
      absl::StrAppend(&input, RandomGarbage(rng), "\n", wanted.back(), "\n");
    }
    const auto events = Read(input, 1 << 20);
    std::vector<std::string> found;
    std::copy_if(events.begin(), events.end(), std::back_inserter(found),
                 [](const std::string& event) { return event.find(":10") != std::string::npos; });
    EXPECT_EQ(found, wanted) << input;
  }
}

TEST(MessageReaderTest, PiecesDoNotMatter) {
  const ReaderLimits limits = {.value_bytes_max = 60, .depth_max = 6};
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    std::string input;
    for (int i = 0; i < 8; ++i) {
      absl::StrAppend(&input, RandomGarbage(rng), rng.OneIn(2) ? "\n" : "",
                      rng.OneIn(2) ? Envelope(i) : "", rng.OneIn(2) ? "\n" : "");
    }
    const auto whole = Read(input, 1 << 20, limits);
    EXPECT_EQ(Read(input, 1, limits), whole) << input;
    EXPECT_EQ(Read(input, rng.Between(2, 40), limits), whole) << input;
  }
}

// Bytes that a reader looks at more than a few times would take hours here.
TEST(MessageReaderTest, HostileInputTakesLinearTime) {
  const std::vector<std::string> units = {"[\n", "{\"a\":\n",   "[",    " ",      "{\"a\":[\n{}\n",
                                          "\"",  "{\"a\":1}\n", "[\n ", "[\n{\"", "{ "};
  for (const std::string& unit : units) {
    std::string input;
    while (input.size() < 1 << 20) {
      input += unit;
    }
    Found found;
    MessageReader reader;
    for (size_t at = 0; at < input.size(); at += 4096) {
      reader.Feed(absl::string_view(input).substr(at, 4096), found);
      found.events.clear();
    }
    reader.Feed(absl::StrCat("\n", Envelope(77), "\n"), found);
    EXPECT_THAT(found.events, Contains(Envelope(77))) << unit;
  }
}

}  // namespace
}  // namespace ballast::gateway
