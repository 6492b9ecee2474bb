// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/config_history.h"

#include <limits>

#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using Verdict = ConfigHistory::Verdict;

TEST(ConfigHistoryTest, AnUpdateBeforeAnySetCountsFromZero) {
  const ConfigHistory history;
  EXPECT_EQ(history.JudgeUpdate(1, {0}), Verdict::kChange);
  EXPECT_EQ(history.JudgeUpdate(0, {}), Verdict::kRefuse);
  EXPECT_EQ(history.JudgeUpdate(2, {0}), Verdict::kRefuse);
}

TEST(ConfigHistoryTest, OnlyTheNextVersionIsApplied) {
  ConfigHistory history;
  history.Record(7, {0, 1});
  EXPECT_EQ(history.JudgeUpdate(8, {0}), Verdict::kChange);
  EXPECT_EQ(history.JudgeUpdate(9, {0}), Verdict::kRefuse);
  EXPECT_EQ(history.JudgeUpdate(6, {0}), Verdict::kRefuse);
}

TEST(ConfigHistoryTest, TheCurrentOneAgainIsTheSameOnlyWithTheSameShards) {
  ConfigHistory history;
  history.Record(7, {0, 1});
  EXPECT_EQ(history.JudgeUpdate(7, {0, 1}), Verdict::kSame);
  EXPECT_EQ(history.JudgeUpdate(7, {0}), Verdict::kRefuse);
}

TEST(ConfigHistoryTest, ASetMayGoAnywhereAndInternalNumbersHaveNoGaps) {
  ConfigHistory history;
  EXPECT_EQ(history.JudgeSet(5, {1}), Verdict::kChange);
  history.Record(5, {1});
  EXPECT_EQ(history.JudgeSet(5, {1}), Verdict::kSame);
  EXPECT_EQ(history.JudgeSet(5, {2}), Verdict::kChange);
  EXPECT_EQ(history.JudgeSet(3, {1}), Verdict::kChange);
  history.Record(3, {1});
  EXPECT_EQ(history.version(), 3u);
  EXPECT_EQ(history.internal(), 2u);
  EXPECT_EQ(history.JudgeUpdate(4, {}), Verdict::kChange);
}

TEST(ConfigHistoryTest, AFirstSetToVersionZeroIsAChange) {
  EXPECT_EQ(ConfigHistory().JudgeSet(0, {}), Verdict::kChange);
}

TEST(ConfigHistoryTest, NothingFollowsTheLargestVersion) {
  ConfigHistory history;
  history.Record(std::numeric_limits<uint64_t>::max(), {});
  EXPECT_EQ(history.JudgeUpdate(0, {}), Verdict::kRefuse);
}

}  // namespace
}  // namespace ballast::gateway
