// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/command_queue.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "common/types/error.h"
#include "common/types/limits.h"
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

CommandLimits Limits(size_t commands_max) {
  return CommandLimits{.commands_max = commands_max, .copies_max = 2, .others_max = 2};
}

v1::Command Replicate(uint64_t id, ChunkHandle handle, uint64_t term = 1) {
  v1::Command command = Delete(id, handle, 1, term);
  v1::Command::Replicate& order = *command.mutable_replicate();
  v1::ReplicaLocation& source = *order.add_sources();
  source.set_server_id("11111111-7b0e-4d0a-9a53-0d2b1f7c8e11");
  source.set_address("127.0.0.1:7600");
  order.set_length_bytes(5);
  return command;
}

v1::Command Keep(uint64_t id, ChunkHandle handle, uint64_t term = 1) {
  v1::Command command = Delete(id, handle, 1, term);
  command.mutable_keep();
  return command;
}

void MakeDurable(CommandQueue& queue) { queue.OnFencesDurable(queue.fences().version()); }

// The ids of the commands that may run now.
std::vector<uint64_t> TakeAll(CommandQueue& queue) {
  std::vector<uint64_t> ids;
  while (const auto next = queue.TakeNext()) {
    EXPECT_FALSE(next->refused.has_value());
    ids.push_back(next->queued.command.command_id());
  }
  return ids;
}

const ChunkHandle kA(ShardId(1), 1);
const ChunkHandle kB(ShardId(1), 2);
const ChunkHandle kC(ShardId(1), 3);
const ChunkHandle kD(ShardId(1), 4);

TEST(CommandQueueTest, RunsNothingBeforeItsFenceIsDurable) {
  CommandQueue queue(Limits(10), FenceTable());
  EXPECT_FALSE(queue.Offer(1, Delete(1, kA, 1, 1)).has_value());
  EXPECT_TRUE(queue.NeedsFencesDurable());
  EXPECT_FALSE(queue.TakeNext().has_value());
  queue.OnFencesDurable(queue.fences().version());
  EXPECT_FALSE(queue.NeedsFencesDurable());
  EXPECT_TRUE(queue.TakeNext().has_value());
}

TEST(CommandQueueTest, AFenceThatRoseWhileItWasWrittenIsNotTakenForDurable) {
  CommandQueue queue(Limits(10), FenceTable());
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
  CommandQueue queue(Limits(10), FenceTable());
  EXPECT_FALSE(queue.Offer(1, Delete(1, kA, 2, 5)).has_value());
  EXPECT_EQ(queue.Offer(1, Delete(2, kB, 2, 4))->reason(), v1::REASON_STALE_FENCE);
  EXPECT_EQ(queue.Offer(1, Delete(3, kB, 1, 9))->reason(), v1::REASON_STALE_FENCE);
  EXPECT_FALSE(queue.Offer(1, Delete(4, ChunkHandle(ShardId(2), 1), 1, 1)).has_value());
}

TEST(CommandQueueTest, RefusesALowerFenceAfterARestart) {
  FenceTable table;
  table.Admit(ShardId(1), FencePair{ConfigVersion(3), RaftTerm(7)});
  ASSERT_OK_AND_ASSIGN(FenceTable reread, FenceTable::Decode(table.Encode()));
  CommandQueue queue(Limits(10), std::move(reread));
  EXPECT_EQ(queue.Offer(1, Delete(1, kA, 3, 6))->reason(), v1::REASON_STALE_FENCE);
  EXPECT_FALSE(queue.Offer(1, Delete(1, kA, 3, 7)).has_value());
  EXPECT_TRUE(queue.TakeNext().has_value());  // that pair is durable already
}

TEST(CommandQueueTest, QueuesARepeatedCommandOnceAndAnswersTheNewerStream) {
  CommandQueue queue(Limits(10), FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  queue.Offer(2, Delete(1, kA, 1, 1));
  EXPECT_EQ(queue.size(), 1u);
  queue.OnFencesDurable(queue.fences().version());
  EXPECT_EQ(queue.TakeNext()->queued.source, 2u);
}

TEST(CommandQueueTest, RunsCommandsOfOneChunkOneAtATimeInOrder) {
  CommandQueue queue(Limits(10), FenceTable());
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
  CommandQueue queue(Limits(2), FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  queue.Offer(1, Delete(2, kA, 1, 1));
  EXPECT_EQ(queue.Offer(1, Delete(3, kA, 1, 1))->reason(), v1::REASON_OVERLOADED);
  EXPECT_EQ(queue.size(), 2u);
}

TEST(CommandQueueTest, RefusesWhatItCannotDo) {
  CommandQueue queue(Limits(2), FenceTable());
  v1::Command unfenced = Delete(1, kA, 0, 0);
  EXPECT_EQ(queue.Offer(1, unfenced)->reason(), v1::REASON_INVALID_ARGUMENT);
  v1::Command causeless = Delete(1, kA, 1, 1);
  causeless.mutable_delete_replica()->clear_cause();
  EXPECT_EQ(queue.Offer(1, causeless)->reason(), v1::REASON_INVALID_ARGUMENT);
  v1::Command orderless = Delete(1, kA, 1, 1);
  orderless.clear_order();
  EXPECT_EQ(queue.Offer(1, orderless)->reason(), v1::REASON_INVALID_ARGUMENT);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(CommandQueueTest, RefusesCopiesThatMakeNoSense) {
  CommandQueue queue(Limits(20), FenceTable());
  const auto refused = [&](auto change) {
    v1::Command command = Replicate(1, kA);
    change(*command.mutable_replicate());
    const auto result = queue.Offer(1, command);
    return result.has_value() && result->reason() == v1::REASON_INVALID_ARGUMENT;
  };
  using Order = v1::Command::Replicate;
  EXPECT_TRUE(refused([](Order& o) { o.clear_sources(); }));
  EXPECT_TRUE(refused([](Order& o) {
    while (o.sources_size() < 8) {
      *o.add_sources() = o.sources(0);
    }
  }));
  EXPECT_TRUE(refused([](Order& o) { o.mutable_sources(0)->set_address("nonsense"); }));
  EXPECT_TRUE(refused([](Order& o) { o.mutable_sources(0)->set_address("unix:/socket"); }));
  EXPECT_TRUE(refused([](Order& o) { o.mutable_sources(0)->set_server_id("me"); }));
  EXPECT_TRUE(refused([](Order& o) { o.mutable_sources(0)->clear_server_id(); }));
  EXPECT_TRUE(refused([](Order& o) { o.set_length_bytes(0); }));
  EXPECT_TRUE(refused([](Order& o) { o.set_length_bytes(kChunkBytesMax + 1); }));
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_FALSE(refused([](Order& o) {
    o.set_length_bytes(kChunkBytesMax);
    while (o.sources_size() < 7) {
      *o.add_sources() = o.sources(0);
    }
  }));
}

TEST(CommandQueueTest, CopiesAndTheRestDoNotWaitForEachOther) {
  CommandQueue queue(Limits(20), FenceTable());
  const std::vector<ChunkHandle> handles = {kA, kB, kC, kD};
  for (uint64_t i = 0; i < 4; ++i) {
    queue.Offer(1, Replicate(i + 1, handles[i]));
  }
  for (uint64_t i = 0; i < 4; ++i) {
    queue.Offer(1, Delete(i + 11, ChunkHandle(ShardId(2), i + 1), 1, 1));
  }
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), (std::vector<uint64_t>{1, 2, 11, 12}));
  queue.Finish(QueuedCommand{.source = 1, .command = Replicate(2, kB)});
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{3});
  queue.Finish(QueuedCommand{.source = 1, .command = Delete(11, ChunkHandle(ShardId(2), 1), 1, 1)});
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{13});
}

TEST(CommandQueueTest, WhatConcernsAChunkWaitsForItsCopy) {
  CommandQueue queue(Limits(20), FenceTable());
  queue.Offer(1, Replicate(1, kA));
  queue.Offer(1, Delete(2, kA, 1, 1));
  queue.Offer(1, Replicate(3, kA));
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{1});
  queue.Finish(QueuedCommand{.source = 1, .command = Replicate(1, kA)});
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{2});
  queue.Finish(QueuedCommand{.source = 1, .command = Delete(2, kA, 1, 1)});
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{3});
}

TEST(CommandQueueTest, AKeepCancelsTheDeletesOfItsChunkThatWait) {
  CommandQueue queue(Limits(20), FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  queue.Offer(2, Delete(2, kA, 1, 1));
  queue.Offer(1, Delete(3, kB, 1, 1));
  queue.Offer(1, Keep(4, kA));
  queue.Offer(1, Delete(5, kA, 1, 1));  // decided later
  MakeDurable(queue);
  for (const uint64_t id : {1, 2}) {
    const auto next = queue.TakeNext();
    ASSERT_TRUE(next.has_value() && next->refused.has_value());
    EXPECT_EQ(next->refused->command_id(), id);
    EXPECT_EQ(next->refused->code(), static_cast<uint32_t>(absl::StatusCode::kAborted));
    EXPECT_EQ(next->queued.source, id) << "who gave it is told";
  }
  EXPECT_EQ(TakeAll(queue), (std::vector<uint64_t>{3, 4}));
  queue.Finish(QueuedCommand{.source = 1, .command = Keep(4, kA)});
  queue.Finish(QueuedCommand{.source = 1, .command = Delete(3, kB, 1, 1)});
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{5});
}

TEST(CommandQueueTest, AKeepWaitsForADeleteThatRuns) {
  CommandQueue queue(Limits(20), FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 1));
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{1});
  queue.Offer(1, Keep(2, kA));
  EXPECT_TRUE(TakeAll(queue).empty());
  queue.Finish(QueuedCommand{.source = 1, .command = Delete(1, kA, 1, 1)});
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{2});
}

TEST(CommandQueueTest, AKeepRaisesTheFenceDurablyBeforeItIsAnswered) {
  CommandQueue queue(Limits(20), FenceTable());
  queue.Offer(1, Keep(1, kA, /*term=*/7));
  EXPECT_TRUE(queue.NeedsFencesDurable());
  EXPECT_TRUE(TakeAll(queue).empty());
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{1});
  EXPECT_EQ(queue.Offer(1, Delete(2, kA, 1, 6))->reason(), v1::REASON_STALE_FENCE);
}

TEST(CommandQueueTest, AKeepOfADeposedMasterCancelsNothing) {
  CommandQueue queue(Limits(20), FenceTable());
  queue.Offer(1, Delete(1, kA, 1, 5));
  EXPECT_EQ(queue.Offer(1, Keep(2, kA, /*term=*/4))->reason(), v1::REASON_STALE_FENCE);
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{1});
}

TEST(CommandQueueTest, ARepeatedKeepDoesNotCancelWhatCameBetween) {
  CommandQueue queue(Limits(20), FenceTable());
  queue.Offer(1, Keep(1, kA));
  queue.Offer(1, Delete(2, kA, 1, 1));
  queue.Offer(1, Keep(1, kA));
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{1});
  queue.Finish(QueuedCommand{.source = 1, .command = Keep(1, kA)});
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{2});
}

// A Keep or Replicate that was carried out.
void CarryOut(CommandQueue& queue, const v1::Command& command) {
  EXPECT_FALSE(queue.Offer(1, command).has_value());
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{command.command_id()});
  queue.Finish(QueuedCommand{.source = 1, .command = command});
}

bool IsRefusedAsLate(CommandQueue& queue, const v1::Command& command) {
  const auto result = queue.Offer(1, command);
  return result.has_value() && result->code() == static_cast<uint32_t>(absl::StatusCode::kAborted);
}

TEST(CommandQueueTest, ADeleteThatWasGivenBeforeAKeepAndComesAfterItIsRefused) {
  CommandQueue queue(Limits(20), FenceTable());
  const v1::Command keep = Keep(5, kA);
  queue.Offer(1, keep);
  EXPECT_TRUE(IsRefusedAsLate(queue, Delete(4, kA, 1, 1))) << "the Keep waits";
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{5});
  EXPECT_TRUE(IsRefusedAsLate(queue, Delete(4, kA, 1, 1))) << "the Keep runs";
  queue.Finish(QueuedCommand{.source = 1, .command = keep});
  EXPECT_TRUE(IsRefusedAsLate(queue, Delete(4, kA, 1, 1))) << "the Keep was answered";
  EXPECT_EQ(queue.size(), 0u);
}

TEST(CommandQueueTest, ADeleteThatWasGivenBeforeACopyAndComesAfterItIsRefused) {
  CommandQueue queue(Limits(20), FenceTable());
  CarryOut(queue, Replicate(5, kA));
  EXPECT_TRUE(IsRefusedAsLate(queue, Delete(4, kA, 1, 1)));
}

TEST(CommandQueueTest, ADeleteThatWasGivenAfterAKeepRuns) {
  CommandQueue queue(Limits(20), FenceTable());
  CarryOut(queue, Keep(5, kA));
  CarryOut(queue, Delete(6, kA, 1, 1));
  CarryOut(queue, Delete(2, kB, 1, 1));
  CarryOut(queue, Delete(1, kA, 1, 2));  // another leader counts anew
}

TEST(CommandQueueTest, AKeepThatIsOvertakenByALaterOneForgetsNothing) {
  CommandQueue queue(Limits(20), FenceTable());
  CarryOut(queue, Keep(9, kA));
  CarryOut(queue, Keep(5, kA));
  EXPECT_TRUE(IsRefusedAsLate(queue, Delete(7, kA, 1, 1)));
}

TEST(CommandQueueTest, AKeepThatWasRefusedForbidsNothing) {
  CommandQueue queue(Limits(1), FenceTable());
  queue.Offer(1, Delete(1, kB, 1, 1));
  EXPECT_EQ(queue.Offer(1, Keep(5, kA))->reason(), v1::REASON_OVERLOADED);
  MakeDurable(queue);
  EXPECT_EQ(TakeAll(queue), std::vector<uint64_t>{1});
  queue.Finish(QueuedCommand{.source = 1, .command = Delete(1, kB, 1, 1)});
  CarryOut(queue, Delete(4, kA, 1, 1));
}

TEST(LateDeletesTest, IsBoundedAndForgetsNoLateDeleteForThat) {
  const FencePair pair{ConfigVersion(1), RaftTerm(1)};
  LateDeletes late(10);
  for (uint64_t i = 1; i <= 1000; ++i) {
    late.Want(ChunkHandle(ShardId(1), i % 300 + 1), pair, i);
    EXPECT_LE(late.size(), 10u);
  }
  EXPECT_TRUE(late.IsLate(ChunkHandle(ShardId(1), 201), pair, 799)) << "asked for as 800";
  EXPECT_TRUE(late.IsLate(ChunkHandle(ShardId(1), 201), pair, 1));
  EXPECT_FALSE(late.IsLate(ChunkHandle(ShardId(1), 5000), pair, 990)) << "after all it forgot";
  EXPECT_FALSE(late.IsLate(ChunkHandle(ShardId(2), 201), pair, 1));
  const FencePair next{ConfigVersion(1), RaftTerm(2)};
  EXPECT_FALSE(late.IsLate(ChunkHandle(ShardId(1), 201), next, 1));
  late.Want(ChunkHandle(ShardId(1), 1), next, 1);
  EXPECT_TRUE(late.IsLate(ChunkHandle(ShardId(1), 201), pair, 1));
}

TEST(LateDeletesTest, RandomOrdersOfDeliveryNeverLetALateDeleteThrough) {
  Rng rng(17);
  for (int round = 0; round < 200; ++round) {
    struct Given {
      uint64_t id;
      uint64_t chunk;
      bool wants;
    };
    std::vector<Given> given;
    for (uint64_t id = 1; id <= 60; ++id) {
      given.push_back(Given{.id = id, .chunk = rng.Below(12), .wants = rng.Below(2) == 0});
    }
    for (size_t i = given.size(); i > 1; --i) {
      std::swap(given[i - 1], given[rng.Below(i)]);
    }
    const FencePair pair{ConfigVersion(1), RaftTerm(1)};
    LateDeletes late(4);
    LateDeletes roomy(1000);
    std::map<uint64_t, uint64_t> last;  // per chunk
    for (const Given& command : given) {
      const ChunkHandle handle(ShardId(1), command.chunk + 1);
      if (command.wants) {
        late.Want(handle, pair, command.id);
        roomy.Want(handle, pair, command.id);
        last[command.chunk] = std::max(last[command.chunk], command.id);
      } else {
        const bool is_late = command.id < last[command.chunk];
        EXPECT_EQ(roomy.IsLate(handle, pair, command.id), is_late);
        EXPECT_TRUE(!is_late || late.IsLate(handle, pair, command.id));
      }
    }
  }
}

TEST(CommandResultTest, IsPlainTextWhateverAStrangerSaid) {
  const v1::CommandResult result =
      MakeCommandResult(Replicate(1, kA), absl::UnavailableError("bad \xff\xfe\n\x01 text"), 9);
  EXPECT_EQ(result.text(), "bad ???? text");
  EXPECT_EQ(result.bytes(), 9u);
  EXPECT_EQ(MakeCommandResult(Replicate(1, kA), absl::UnavailableError(std::string(1000, 'x')))
                .text()
                .size(),
            kResultTextBytesMax);
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
