// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/expiry_loop.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/control/control_fixture.h"

namespace ballast::master {
namespace {

class ExpiryLoopTest : public ControlFixture {
 protected:
  ExpiryLoopTest() {
    loop_.SetSessionIdle(5000);
    loop_.Start();
  }

  // An object of one chunk, put at `key`.
  void PutChunk(const std::string& key, uint64_t grace_ms) {
    const uint64_t draft = Begin(key, 60'000);
    const uint32_t shard = machine_.ShardOf(key).value();
    const Shard& state = *machine_.FindShard(ShardId(shard));
    const uint64_t handle = ChunkHandle(ShardId(shard), state.allocated_mark()).value();
    mlog::Command seal = Request(shard);
    seal.mutable_seal_chunks()->set_draft_id(draft);
    mlog::SealedChunk& chunk = *seal.mutable_seal_chunks()->add_chunks();
    chunk.set_handle(handle);
    chunk.set_length_bytes(10);
    chunk.add_server_indexes(1);
    ASSERT_EQ(Run(seal)->code(), 0u);
    mlog::Command commit = Request(shard);
    commit.mutable_commit()->set_key(key);
    commit.mutable_commit()->set_draft_id(draft);
    commit.mutable_commit()->set_chunk_count(1);
    commit.mutable_commit()->set_size_bytes(10);
    commit.mutable_commit()->set_grace_ms(grace_ms);
    ASSERT_EQ(Run(commit)->code(), 0u);
  }
  uint64_t Begin(const std::string& key, uint64_t expiry_ms) {
    mlog::Command begin = Request(machine_.ShardOf(key).value());
    begin.mutable_begin_write()->set_key(key);
    begin.mutable_begin_write()->set_wanted_replicas(1);
    begin.mutable_begin_write()->set_required_replicas(1);
    begin.mutable_begin_write()->set_chunk_count(1);
    begin.mutable_begin_write()->set_expiry_ms(expiry_ms);
    return Run(begin)->draft_id();
  }

  ExpiryLoop loop_{*executor_, machine_, proposer_, ExpiryLoop::Options{}};
};

TEST_F(ExpiryLoopTest, EndsAnUnrenewedDraftAfterItsTime) {
  Begin("k", 3000);
  scheduler_.RunFor(absl::Milliseconds(2900));
  EXPECT_EQ(machine_.Count().drafts, 1u);
  scheduler_.RunFor(absl::Milliseconds(1200));
  EXPECT_EQ(machine_.Count().drafts, 0u);
}

TEST_F(ExpiryLoopTest, RemovesDoomedChunksAfterTheGracePeriod) {
  PutChunk("k", 3000);
  PutChunk("k", 3000);
  EXPECT_EQ(machine_.Count().doomed, 1u);
  scheduler_.RunFor(absl::Milliseconds(2900));
  EXPECT_EQ(machine_.Count().doomed, 1u);
  scheduler_.RunFor(absl::Milliseconds(1200));
  EXPECT_EQ(machine_.Count().doomed, 0u);
  EXPECT_EQ(machine_.Count().chunks, 1u);
}

TEST_F(ExpiryLoopTest, RemovesNoMoreDoomedChunksInATickThanItMay) {
  loop_.Stop();
  ExpiryLoop slow(*executor_, machine_, proposer_, {absl::Seconds(1), 64, /*handles_max=*/2});
  slow.SetSessionIdle(100'000);
  for (const char* key : {"a", "b", "c", "d", "e"}) {
    PutChunk(key, 0);
    PutChunk(key, 0);
  }
  EXPECT_EQ(machine_.Count().doomed, 5u);
  slow.Start();
  for (uint64_t left : {3, 1, 0}) {
    scheduler_.RunFor(absl::Seconds(1));
    EXPECT_EQ(machine_.Count().doomed, left);
  }
  slow.Stop();
}

TEST_F(ExpiryLoopTest, AShardThatAlwaysHasDoomedChunksDueKeepsNoOtherOneWaiting) {
  loop_.Stop();
  ExpiryLoop slow(*executor_, machine_, proposer_, {absl::Seconds(1), 64, /*handles_max=*/2});
  slow.SetSessionIdle(100'000);
  const auto key_of = [&](uint32_t shard) {
    for (int i = 0;; ++i) {
      const std::string key = "key" + std::to_string(i);
      if (machine_.ShardOf(key) == ShardId(shard)) return key;
    }
  };
  for (uint64_t seconds = 0; seconds <= 20; ++seconds) PutChunk(key_of(0), 1000 * seconds);
  PutChunk(key_of(3), 0);
  PutChunk(key_of(3), 0);
  slow.Start();
  scheduler_.RunFor(absl::Seconds(3));
  EXPECT_GE(machine_.FindShard(ShardId(0))->doomed().handle_count(), 2u) << "and some always due";
  EXPECT_EQ(machine_.FindShard(ShardId(3))->doomed().handle_count(), 0u);
  slow.Stop();
}

TEST_F(ExpiryLoopTest, ClosesIdleSessionsInEveryShard) {
  for (uint32_t shard = 0; shard < kShards; ++shard) OpenSession(shard);
  scheduler_.RunFor(absl::Milliseconds(4900));
  EXPECT_EQ(machine_.Count().sessions, kShards);
  scheduler_.RunFor(absl::Milliseconds(1200));
  EXPECT_EQ(machine_.Count().sessions, 0u);
}

TEST_F(ExpiryLoopTest, ProposesNothingWhereNothingIsDueOrAnotherLeads) {
  Begin("k", 3000);
  const RaftIndex last = log_.state().last;
  scheduler_.RunFor(absl::Milliseconds(2000));
  EXPECT_EQ(log_.state().last, last);
  log_.SetRole(ReplicatedLog::Role::kFollower);
  scheduler_.RunFor(absl::Hours(1));
  EXPECT_EQ(log_.state().last, last);
  log_.SetRole(ReplicatedLog::Role::kLeader);
  scheduler_.RunFor(absl::Milliseconds(2900));
  EXPECT_EQ(machine_.Count().drafts, 1u) << "time without a leader here does not count";
  scheduler_.RunFor(absl::Milliseconds(1200));
  EXPECT_EQ(machine_.Count().drafts, 0u);
}

TEST_F(ExpiryLoopTest, GoesOnAfterALostReply) {
  Begin("k", 1000);
  scheduler_.RunFor(absl::Milliseconds(900));
  log_.LoseNextReply(/*applied=*/false);
  scheduler_.RunFor(absl::Seconds(3));
  EXPECT_EQ(machine_.Count().drafts, 0u);
}

TEST_F(ExpiryLoopTest, StopsWhenTold) {
  Begin("k", 1000);
  loop_.Stop();
  scheduler_.RunFor(absl::Seconds(10));
  EXPECT_EQ(machine_.Count().drafts, 1u);
}

}  // namespace
}  // namespace ballast::master
