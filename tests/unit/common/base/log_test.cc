// SPDX-License-Identifier: Apache-2.0
#include "common/base/log.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

using ::testing::EndsWith;
using ::testing::MatchesRegex;

template <typename Function>
std::string Captured(Function function) {
  ::testing::internal::CaptureStderr();
  function();
  return ::testing::internal::GetCapturedStderr();
}

TEST(LogTest, WritesTimeLevelEventAndFields) {
  const std::string line = Captured([] {
    LogInfo("chunk_store.opened", {{"chunks", 3}, {"folder", "/data"}});
  });
  EXPECT_THAT(line, MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+\\.[0-9]+Z I "
                                 "chunk_store.opened chunks=3 folder=/data\n"));
}

TEST(LogTest, NamesEachLevelByOneLetter) {
  EXPECT_THAT(Captured([] { LogWarning("a.b"); }), EndsWith(" W a.b\n"));
  EXPECT_THAT(Captured([] { LogError("a.b"); }), EndsWith(" E a.b\n"));
}

TEST(LogTest, QuotesWhatWouldBreakALine) {
  const std::string hostile = "two words\nE fake.event k=\"v\"";
  const std::string line = Captured([&] {
    LogInfo("x.y", {{"a", hostile}, {"b", ""}, {"c", "k=v"}, {"d", "é"}});
  });
  EXPECT_THAT(line, EndsWith(" I x.y a=\"two words\\nE fake.event k=\\\"v\\\"\" b=\"\" "
                             "c=\"k=v\" d=é\n"));
}

TEST(LogTest, ValuesAreNotFormatStrings) {
  EXPECT_THAT(Captured([] {
                LogInfo("x.{}", {{"a", "{}%s{0}"}});
              }),
              EndsWith(" I x.{} a={}%s{0}\n"));
}

TEST(LogTest, DropsLinesBelowTheLevel) {
  EXPECT_EQ(Captured([] { LogDebug("quiet.one"); }), "");
  SetLogLevel(LogLevel::kError);
  EXPECT_EQ(Captured([] { LogWarning("quiet.two"); }), "");
  SetLogLevel(LogLevel::kDebug);
  EXPECT_THAT(Captured([] { LogDebug("loud"); }), EndsWith(" D loud\n"));
  SetLogLevel(LogLevel::kInfo);
}

TEST(LogTest, ParsesLevelNames) {
  LogLevel level = LogLevel::kInfo;
  EXPECT_TRUE(ParseLogLevel("warning", &level));
  EXPECT_EQ(level, LogLevel::kWarning);
  EXPECT_TRUE(ParseLogLevel("debug", &level));
  EXPECT_EQ(level, LogLevel::kDebug);
  EXPECT_FALSE(ParseLogLevel("Warning", &level));
  EXPECT_FALSE(ParseLogLevel("", &level));
  EXPECT_EQ(level, LogLevel::kDebug);
}

}  // namespace
}  // namespace ballast
