// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/command_queue.h"

#include "common/base/rng.h"
#include "common/types/error.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::StatusIs;

v1::Command Delete(uint64_t id, ChunkHandle handle, uint64_t config, uint64_t term) {
  v1::Command command;
  command.set_command_id(id);
  command.set_handle(handle.value());
  command.mutable_fence()->set_config_version(config);
  command.mutable_fence()->set_term(term);
  command.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_GARBAGE);
  return command;
}

const ChunkHandle kA(ShardId(1), 1);
const ChunkHandle kB(ShardId(1), 2);

TEST(CommandQueueTest, RunsNothingBeforeItsFenceIsDurable) {
  CommandQueue queue(10, FenceTable());
  EXPECT_FALSE(queue.Offer(1, Delete(1, kA, 1, 1)).has_value());
  EXPECT_TRUE(queue.NeedsFencesDurable());
  EXPECT_FALSE(queue.TakeNext().has_value());
  queue.OnFencesDurable(queue.fences().version());
  EXPECT_FALSE(queue.NeedsFencesDurable());
  EXPECT_TRUE(queue.TakeNext().has_value());
}

TEST(CommandQueueTest, AFenceThatRoseWhileItWasWrittenIsNotTakenForDurable) {
  CommandQueue queue(10, FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  const uint64_t written = queue.fences().version();
  queue.Offer(1, Delete(2, kB, 1, 2));
  queue.OnFencesDurable(written);
  const auto next = queue.TakeNext();
  ASSERT_TRUE(next.has_value());
  EXPECT_TRUE(next->refused.has_value());  // term 1 is over
  EXPECT_FALSE(queue.TakeNext().has_value());
  EXPECT_TRUE(queue.NeedsFencesDurable());
}

TEST(CommandQueueTest, RefusesALowerFenceForTheSameShardOnly) {
  CommandQueue queue(10, FenceTable());
  EXPECT_FALSE(queue.Offer(1, Delete(1, kA, 2, 5)).has_value());
  EXPECT_EQ(queue.Offer(1, Delete(2, kB, 2, 4))->reason(), v1::REASON_STALE_FENCE);
  EXPECT_EQ(queue.Offer(1, Delete(3, kB, 1, 9))->reason(), v1::REASON_STALE_FENCE);
  EXPECT_FALSE(queue.Offer(1, Delete(4, ChunkHandle(ShardId(2), 1), 1, 1)).has_value());
}

TEST(CommandQueueTest, RefusesALowerFenceAfterARestart) {
  FenceTable table;
  table.Admit(ShardId(1), FencePair{ConfigVersion(3), RaftTerm(7)});
  ASSERT_OK_AND_ASSIGN(FenceTable reread, FenceTable::Decode(table.Encode()));
  CommandQueue queue(10, std::move(reread));
  EXPECT_EQ(queue.Offer(1, Delete(1, kA, 3, 6))->reason(), v1::REASON_STALE_FENCE);
  EXPECT_FALSE(queue.Offer(1, Delete(1, kA, 3, 7)).has_value());
  EXPECT_TRUE(queue.TakeNext().has_value());  // that pair is durable already
}

TEST(CommandQueueTest, QueuesARepeatedCommandOnceAndAnswersTheNewerStream) {
  CommandQueue queue(10, FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  queue.Offer(2, Delete(1, kA, 1, 1));
  EXPECT_EQ(queue.size(), 1u);
  queue.OnFencesDurable(queue.fences().version());
  EXPECT_EQ(queue.TakeNext()->queued.source, 2u);
}

TEST(CommandQueueTest, RunsCommandsOfOneChunkOneAtATimeInOrder) {
  CommandQueue queue(10, FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  queue.Offer(1, Delete(2, kA, 1, 1));
  queue.Offer(1, Delete(3, kB, 1, 1));
  queue.OnFencesDurable(queue.fences().version());
  const auto first = queue.TakeNext();
  EXPECT_EQ(first->queued.command.command_id(), 1u);
  EXPECT_EQ(queue.TakeNext()->queued.command.command_id(), 3u);
  EXPECT_FALSE(queue.TakeNext().has_value());
  queue.Finish(first->queued);
  EXPECT_EQ(queue.TakeNext()->queued.command.command_id(), 2u);
}

TEST(CommandQueueTest, IsBoundedAndSaysSo) {
  CommandQueue queue(2, FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  queue.Offer(1, Delete(2, kA, 1, 1));
  EXPECT_EQ(queue.Offer(1, Delete(3, kA, 1, 1))->reason(), v1::REASON_OVERLOADED);
  EXPECT_EQ(queue.size(), 2u);
}

TEST(CommandQueueTest, RefusesWhatItCannotDo) {
  CommandQueue queue(2, FenceTable());
  v1::Command unfenced = Delete(1, kA, 0, 0);
  EXPECT_EQ(queue.Offer(1, unfenced)->reason(), v1::REASON_INVALID_ARGUMENT);
  v1::Command causeless = Delete(1, kA, 1, 1);
  causeless.mutable_delete_replica()->clear_cause();
  EXPECT_EQ(queue.Offer(1, causeless)->reason(), v1::REASON_INVALID_ARGUMENT);
  v1::Command copy = Delete(1, kA, 1, 1);
  copy.mutable_replicate();
  EXPECT_EQ(queue.Offer(1, copy)->reason(), v1::REASON_NOT_SUPPORTED_YET);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(FenceTableTest, DetectsEveryFlippedBitAndEveryCut) {
  FenceTable table;
  for (uint32_t shard = 0; shard < 5; ++shard) {
    table.Admit(ShardId(shard), FencePair{ConfigVersion(shard + 1), RaftTerm(9)});
  }
  const std::string good = table.Encode();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_THAT(FenceTable::Decode(bad), StatusIs(absl::StatusCode::kDataLoss)) << bit;
  }
  for (size_t cut = 0; cut < good.size(); ++cut) {
    EXPECT_FALSE(FenceTable::Decode(absl::string_view(good).substr(0, cut)).ok()) << cut;
  }
  ASSERT_OK_AND_ASSIGN(const FenceTable back, FenceTable::Decode(good));
  EXPECT_EQ(back.Encode(), good);
}

}  // namespace
}  // namespace ballast::chunkserver
