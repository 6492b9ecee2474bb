// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/json_scanner.h"

#include <string>
#include <vector>

#include "common/base/rng.h"
#include "gateway/core/json_value.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using State = JsonScanner::State;

struct Scanned {
  State state;
  size_t taken;
};

Scanned ScanAll(absl::string_view text, size_t piece = 1000, size_t depth_max = 64) {
  JsonScanner scanner(depth_max);
  size_t taken = 0;
  while (taken < text.size() && scanner.state() == State::kOpen) {
    taken += scanner.Scan(text.substr(taken, piece));
  }
  scanner.Finish();
  return {scanner.state(), taken};
}

TEST(JsonScannerTest, TakesExactlyOneValue) {
  const std::vector<std::string> values = {"{}",
                                           "[]",
                                           "[[]]",
                                           "{\"a\":{}}",
                                           "[1,2]",
                                           "\"\"",
                                           "\"a\\\"b\\u00e9\"",
                                           "true",
                                           "false",
                                           "null",
                                           "0",
                                           "-0",
                                           "12",
                                           "-1.5e-10",
                                           "1E+5",
                                           "[1.0,-2,3e4]",
                                           "{\"a\":1,\"b\":[true,null]}",
                                           "[ 1 , { \"a\" : \"\" } ]",
                                           "\"\xc3\xa9\""};
  for (const std::string& value : values) {
    for (const size_t piece : {1, 2, 1000}) {
      for (const std::string behind : {"", " ", "\n", ",", "]", "{}"}) {
        const Scanned scanned = ScanAll(value + behind, piece);
        EXPECT_EQ(scanned.state, State::kComplete) << value + behind;
        EXPECT_EQ(scanned.taken, value.size()) << value + behind;
      }
    }
  }
}

TEST(JsonScannerTest, StopsAtTheByteThatCannotFollow) {
  const std::vector<std::pair<std::string, size_t>> wrong = {
      {"x", 0},         {"{,", 1},       {"{a", 1},       {"{\"a\",", 4},     {"{\"a\":,", 5},
      {"[1 2", 3},      {"[,", 1},       {"[1,]", 3},     {"{\"a\":1,}", 7},  {"[}", 1},
      {"{\"a\":1]", 6}, {"\"a\nb\"", 2}, {"\"\\x\"", 2},  {"\"\\u12g4\"", 5}, {"-x", 1},
      {"[01]", 2},      {"[1.]", 3},     {"[1e]", 3},     {"[1e+]", 4},       {"[-]", 2},
      {"[.5]", 1},      {"trux", 3},     {"nulL", 3},     {"[1.5.5]", 4},     {"\xef\xbb\xbf{}", 0},
      {"]", 0},         {"[1e5.5]", 4},  {"{\"a\" 1", 5}, {"'a'", 0},         {"\x00", 0}};
  for (const auto& [text, position] : wrong) {
    for (const size_t piece : {1, 1000}) {
      const Scanned scanned = ScanAll(text, piece);
      EXPECT_EQ(scanned.state, text.empty() ? State::kOpen : State::kWrong) << text;
      EXPECT_EQ(scanned.taken, position) << text;
    }
  }
}

TEST(JsonScannerTest, IsOpenUntilTheValueEnds) {
  for (const std::string text :
       {"{", "[", "[1", "{\"a\":{}", "\"abc", "\"\\", "tru", "-", "1.", "1e"}) {
    EXPECT_EQ(ScanAll(text).state, State::kOpen) << text;
  }
}

TEST(JsonScannerTest, CountsDepthAndGoesOnWhenDrained) {
  const std::string deep = std::string(5, '[') + std::string(5, ']');
  EXPECT_EQ(ScanAll(deep, 1000, 5).state, State::kComplete);
  const Scanned scanned = ScanAll(deep, 1000, 4);
  EXPECT_EQ(scanned.state, State::kTooDeep);
  EXPECT_EQ(scanned.taken, 4u);

  JsonScanner scanner(4);
  const size_t taken = scanner.Scan(deep);
  scanner.Drain();
  EXPECT_EQ(taken + scanner.Scan(deep.substr(taken)), deep.size());
  EXPECT_EQ(scanner.state(), State::kComplete);
  // The next value has the limit again.
  scanner.Begin();
  scanner.Scan(deep);
  EXPECT_EQ(scanner.state(), State::kTooDeep);
}

TEST(JsonScannerTest, DrainedDepthIsBoundedToo) {
  JsonScanner scanner(64);
  scanner.Drain();
  const std::string deep(3 << 20, '[');
  EXPECT_LT(scanner.Scan(deep), deep.size());
  EXPECT_EQ(scanner.state(), State::kWrong);
}

EnvelopeFacts FactsOf(absl::string_view text) {
  JsonScanner scanner(64);
  for (const char c : text) {
    scanner.Scan(absl::string_view(&c, 1));
  }
  return scanner.facts();
}

TEST(JsonScannerTest, SeesTheEnvelopeInUnfinishedValues) {
  const EnvelopeFacts facts =
      FactsOf(R"({"dest":"n\"1","src":"c1","body":{"x":{"msg_id":9},"msg_id":-12,"value":[)");
  EXPECT_TRUE(facts.IsEnvelope());
  EXPECT_EQ(facts.src.literal, "c1");
  EXPECT_EQ(facts.dest.literal, "n\\\"1");
  EXPECT_TRUE(facts.msg_id.told);
  EXPECT_EQ(facts.msg_id.literal, "-12");
}

TEST(JsonScannerTest, TellsNothingThatIsDoubtful) {
  EXPECT_FALSE(FactsOf(R"({"src":"c)").src.told);                  // not finished
  EXPECT_FALSE(FactsOf(R"({"src":"a","src":"b",)").src.told);      // two
  EXPECT_FALSE(FactsOf(R"({"src":"a","src":)").src.told);          // two
  EXPECT_FALSE(FactsOf(R"({"src":5,)").src.told);                  // no string
  EXPECT_FALSE(FactsOf(R"({"src":5,"src":"a",)").src.told);        // two
  EXPECT_FALSE(FactsOf(R"({"x":{"src":"a"},)").src.told);          // elsewhere
  EXPECT_FALSE(FactsOf(R"([{"src":"a"},)").src.told);              // elsewhere
  EXPECT_FALSE(FactsOf(R"({"srcs":"a",)").src.told);               // another name
  EXPECT_FALSE(FactsOf(R"({"msg_id":1,)").msg_id.told);            // not in body
  EXPECT_FALSE(FactsOf(R"({"body":{"msg_id":"1",)").msg_id.told);  // no number
  EXPECT_FALSE(FactsOf(R"({"body":{"msg_id":1)").msg_id.told);     // may go on
  EXPECT_FALSE(FactsOf(R"({"body":[{"msg_id":1,)").msg_id.told);   // no object
  EXPECT_FALSE(FactsOf("{\"src\":\"" + std::string(5000, 'a') + "\",").src.told);
}

// The scanner and the parser of whole texts agree on what a value is.
TEST(JsonScannerTest, AgreesWithTheParserOnRandomTexts) {
  const uint64_t seed = 7;
  SCOPED_TRACE(seed);
  Rng rng(seed);
  constexpr absl::string_view kAlphabet = "{}[]\",:0123456789.eE+-truefalsn \\u";
  int complete = 0;
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    const size_t length = rng.Between(1, 12);
    for (size_t k = 0; k < length; ++k) {
      text.push_back(kAlphabet[rng.Below(kAlphabet.size())]);
    }
    if (text.front() == ' ') {
      continue;
    }
    const Scanned scanned = ScanAll(text);
    const bool whole = scanned.state == State::kComplete &&
                       text.find_first_not_of(' ', scanned.taken) == std::string::npos;
    const auto parsed = ParseJson(text);
    const bool beyond_grammar =
        !parsed.ok() && parsed.status().message() != "no JSON, or text that is not Unicode";
    EXPECT_TRUE(whole == parsed.ok() || beyond_grammar) << text;
    complete += whole ? 1 : 0;
  }
  EXPECT_GT(complete, 300);
}

}  // namespace
}  // namespace ballast::gateway
