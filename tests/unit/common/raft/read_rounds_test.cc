// SPDX-License-Identifier: Apache-2.0
#include "common/raft/read_rounds.h"

#include "gtest/gtest.h"

namespace ballast {
namespace {

ReadRounds::Callback Nothing() {
  return [](absl::Status) {};
}

TEST(ReadRoundsTest, CallsThatWaitShareTheNextRound) {
  ReadRounds reads;
  EXPECT_FALSE(reads.WantsRound());
  reads.Add(Nothing());
  ASSERT_TRUE(reads.WantsRound());
  reads.StartRound(1, 10);
  reads.Add(Nothing());
  reads.Add(Nothing());
  EXPECT_FALSE(reads.WantsRound()) << "one at a time";
  EXPECT_EQ(reads.number(), 1u);
  reads.Confirm();
  EXPECT_EQ(reads.number(), 0u);
  ASSERT_TRUE(reads.WantsRound());
  reads.StartRound(2, 12);
  reads.Confirm();
  EXPECT_EQ(reads.size(), 3u);
  EXPECT_EQ(reads.TakeServable(10).size(), 1u);
  EXPECT_EQ(reads.TakeServable(11).size(), 0u) << "12 is not applied";
  EXPECT_EQ(reads.TakeServable(12).size(), 2u);
  EXPECT_EQ(reads.size(), 0u);
}

TEST(ReadRoundsTest, NothingIsServedUnconfirmed) {
  ReadRounds reads;
  reads.Add(Nothing());
  EXPECT_TRUE(reads.TakeServable(100).empty());
  reads.StartRound(1, 5);
  EXPECT_TRUE(reads.TakeServable(100).empty());
}

TEST(ReadRoundsTest, GivesAllBackForRefusal) {
  ReadRounds reads;
  reads.Add(Nothing());
  reads.StartRound(1, 5);
  reads.Confirm();
  reads.Add(Nothing());
  reads.StartRound(2, 6);
  reads.Add(Nothing());
  EXPECT_EQ(reads.TakeAll().size(), 3u);
  EXPECT_EQ(reads.size(), 0u);
  EXPECT_FALSE(reads.WantsRound());
}

}  // namespace
}  // namespace ballast
