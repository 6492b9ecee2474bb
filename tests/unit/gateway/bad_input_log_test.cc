// SPDX-License-Identifier: Apache-2.0
#include "gateway/bad_input_log.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

SteadyTime At(int ms) { return SteadyTime::FromOrigin(absl::Milliseconds(100000 + ms)); }

struct Said {
  std::vector<std::string> lines;
  bool blocked = false;
  BadInputLog::Say Say() {
    return [this](uint64_t line, absl::string_view problem, uint64_t unsaid) {
      if (!blocked) {
        lines.push_back(absl::StrCat(line, " ", problem, " ", unsaid));
      }
      return !blocked;
    };
  }
};

TEST(BadInputLogTest, SaysABurstThenSomeASecondAndCountsTheRest) {
  Said said;
  BadInputLog log(said.Say());
  for (uint64_t line = 1; line <= 1000; ++line) {
    log.Note(line, "bad", At(0));
  }
  EXPECT_THAT(said.lines, SizeIs(BadInputLog::kBurst));
  EXPECT_EQ(said.lines.back(), "100 bad 0");
  log.Note(1001, "bad", At(99));
  EXPECT_THAT(said.lines, SizeIs(100));
  log.Note(1002, "bad", At(100));
  EXPECT_EQ(said.lines.back(), "1002 bad 901");
  log.Note(1003, "bad", At(100));
  log.End();
  EXPECT_EQ(said.lines.back(), "1003 the end 1");
}

TEST(BadInputLogTest, AllowanceDoesNotPileUp) {
  Said said;
  BadInputLog log(said.Say());
  log.Note(1, "bad", At(0));
  for (uint64_t line = 2; line <= 1000; ++line) {
    log.Note(line, "bad", At(3600000));
  }
  EXPECT_THAT(said.lines, SizeIs(BadInputLog::kBurst + 1));
}

TEST(BadInputLogTest, WhatCannotBeSaidNowIsCounted) {
  Said said;
  BadInputLog log(said.Say());
  said.blocked = true;
  log.Note(1, "bad", At(0));
  log.Note(2, "bad", At(0));
  said.blocked = false;
  log.Note(3, "bad", At(0));
  log.End();
  EXPECT_THAT(said.lines, ElementsAre("3 bad 2"));
}

}  // namespace
}  // namespace ballast::gateway
