// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/command_ledger.h"

#include "gtest/gtest.h"

namespace ballast::master {
namespace {

SteadyTime At(double seconds) { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }
constexpr ServerIndex kA(1);
constexpr ServerIndex kB(2);
constexpr ChunkHandle kChunk(5);

uint64_t Begin(CommandLedger& ledger, ServerIndex server, ChunkHandle handle, SteadyTime now,
               size_t limit = 2) {
  return ledger.TryBegin(server, OrderKind::kDelete, handle, limit, now, absl::Seconds(10));
}

TEST(CommandLedgerTest, TheSameOrderIsSentAgainOnlyAfterItsPatience) {
  CommandLedger ledger;
  const uint64_t first = Begin(ledger, kA, kChunk, At(0));
  EXPECT_NE(first, 0u);
  EXPECT_EQ(Begin(ledger, kA, kChunk, At(9.9)), 0u);
  const uint64_t second = Begin(ledger, kA, kChunk, At(10));
  EXPECT_GT(second, first);
  EXPECT_EQ(ledger.Finish(kA, first, true), std::nullopt) << "the first one was given up";
  EXPECT_EQ(ledger.Finish(kA, second, true)->handle, kChunk);
}

TEST(CommandLedgerTest, LimitsHoldPerServerAndKind) {
  CommandLedger ledger;
  EXPECT_NE(Begin(ledger, kA, ChunkHandle(1), At(0)), 0u);
  EXPECT_NE(Begin(ledger, kA, ChunkHandle(2), At(1)), 0u);
  EXPECT_EQ(Begin(ledger, kA, ChunkHandle(3), At(2)), 0u);
  EXPECT_NE(Begin(ledger, kB, ChunkHandle(3), At(2)), 0u);
  EXPECT_NE(ledger.TryBegin(kA, OrderKind::kVerify, ChunkHandle(3), 2, At(2), absl::Seconds(1)),
            0u);
  ledger.Tick(At(10));  // the first one's patience is over
  EXPECT_EQ(ledger.under_way(kA, OrderKind::kDelete), 1u);
  EXPECT_NE(Begin(ledger, kA, ChunkHandle(3), At(10)), 0u);
}

TEST(CommandLedgerTest, ResultsOfOthersAndOldOnesAreIgnored) {
  CommandLedger ledger;
  const uint64_t id = Begin(ledger, kA, kChunk, At(0));
  EXPECT_EQ(ledger.Finish(kB, id, true), std::nullopt);
  EXPECT_EQ(ledger.Finish(kA, id + 1, true), std::nullopt);
  ledger.ForgetServer(kA);
  EXPECT_EQ(ledger.Finish(kA, id, true), std::nullopt);
  EXPECT_NE(Begin(ledger, kA, kChunk, At(0)), 0u) << "a new stream gets it again at once";
}

TEST(CommandLedgerTest, WhatFailedIsOrderedAgainOnlyAfterItsPatience) {
  CommandLedger ledger;
  const uint64_t id = Begin(ledger, kA, kChunk, At(0));
  EXPECT_EQ(ledger.Finish(kA, id, false)->handle, kChunk);
  EXPECT_EQ(ledger.Finish(kA, id, true), std::nullopt) << "a result that was doubled";
  EXPECT_EQ(Begin(ledger, kA, kChunk, At(9)), 0u);
  EXPECT_TRUE(ledger.IsUnderWay(kA, OrderKind::kDelete, kChunk));
  EXPECT_NE(Begin(ledger, kA, kChunk, At(10)), 0u);
  ledger.Cancel(kA, OrderKind::kDelete, kChunk);
  EXPECT_FALSE(ledger.IsUnderWay(kA, OrderKind::kDelete, kChunk));
  EXPECT_EQ(ledger.under_way(kA, OrderKind::kDelete), 0u);
}

TEST(CommandLedgerTest, ACopyThatFailedIsOverAtOnce) {
  CommandLedger ledger;
  const auto begin = [&] {
    return ledger.TryBegin(kA, OrderKind::kReplicate, kChunk, 1, At(0), absl::Seconds(70));
  };
  const uint64_t id = begin();
  EXPECT_TRUE(ledger.Finish(kA, id, false).has_value());
  EXPECT_FALSE(ledger.IsUnderWay(kA, OrderKind::kReplicate, kChunk));
  EXPECT_NE(begin(), 0u);
}

}  // namespace
}  // namespace ballast::master
