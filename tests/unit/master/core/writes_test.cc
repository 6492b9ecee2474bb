// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "common/types/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/machine_fixture.h"

// Large writes: drafts, sealing, commit, expiry.

namespace ballast::master {
namespace {

using ChunkRun = Run;  // inside a TEST, Run is a method

using ::testing::ElementsAre;
using testing::HasReason;
using ::testing::IsEmpty;
using Chunk = TestMachine::Chunk;

mlog::Command ExpireDraft(uint64_t draft) {
  mlog::Command command;
  command.mutable_expire_drafts()->add_draft_ids(draft);
  return command;
}

TEST(WritesTest, ACommitMakesTheWholeObjectVisibleAtOnce) {
  TestMachine m;
  const auto [draft, chunks] = m.Write("k", {100, 100, 7});
  EXPECT_THAT(m.machine.FindObject("k"), HasReason(v1::REASON_OBJECT_NOT_FOUND));
  EXPECT_EQ(m.shard().chunks().size(), 3u) << "sealed chunks are known before the commit";
  const mlog::Command commit = m.CommitCommand("k", draft, chunks);
  const mlog::Result result = m.Apply(commit);
  EXPECT_THAT(result, Succeeded());
  ASSERT_OK_AND_ASSIGN(const ObjectRecord* object, m.machine.FindObject("k"));
  EXPECT_EQ(object->size_bytes(), 207u);
  EXPECT_EQ(object->wanted_replicas(), 3u);
  EXPECT_THAT(object->chunks(), ElementsAre(ChunkRun{1, 3}));
  EXPECT_EQ(m.shard().drafts().size(), 0u);
  EXPECT_EQ(m.Apply(commit).SerializeAsString(), result.SerializeAsString()) << "a retry";
}

TEST(WritesTest, HandlesAndDraftsAreNeverUsedTwice) {
  TestMachine m;
  const mlog::Result first = m.Begin("k", 2);
  mlog::Command abort = m.Next();
  abort.mutable_abort_write()->set_draft_id(first.draft_id());
  EXPECT_THAT(m.Apply(abort), Succeeded());
  const mlog::Result second = m.Begin("k", 2);
  EXPECT_NE(second.draft_id(), first.draft_id());
  EXPECT_EQ(second.allocated().first_sequence(), 3u);
  EXPECT_EQ(m.Allocate(second.draft_id(), 4).allocated().first_sequence(), 5u);
  EXPECT_EQ(m.shard().allocated_mark(), 8u);
}

TEST(WritesTest, ADraftsHandlesAreReferencedUntilItEnds) {
  TestMachine m;
  const uint64_t draft = m.Begin("k", 2).draft_id();
  ASSERT_THAT(m.Seal(draft, {{1, 0, 100, 5}}), Succeeded());
  EXPECT_TRUE(m.machine.IsReferenced(m.Handle(1)));
  EXPECT_TRUE(m.machine.IsReferenced(m.Handle(2)));
  mlog::Command abort = m.Next();
  abort.mutable_abort_write()->set_draft_id(draft);
  EXPECT_THAT(m.Apply(abort), Succeeded());
  EXPECT_TRUE(m.machine.IsProvableGarbage(m.Handle(1)));
  EXPECT_TRUE(m.machine.IsProvableGarbage(m.Handle(2)));
  EXPECT_EQ(m.shard().chunks().size(), 0u);
  mlog::Command again = m.Next();
  again.mutable_abort_write()->set_draft_id(draft);
  EXPECT_THAT(m.Apply(again), Succeeded()) << "an ended draft may be aborted again";
}

TEST(WritesTest, AReplacedHandleBecomesGarbageWithTheCommit) {
  TestMachine m;
  const uint64_t draft = m.Begin("k", 2).draft_id();
  EXPECT_EQ(m.Allocate(draft, 1).allocated().first_sequence(), 3u);
  const std::vector<Chunk> chunks = {{1, 0, 100, 5}, {3, 1, 50, 6}};
  ASSERT_THAT(m.Seal(draft, chunks), Succeeded());
  ASSERT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)), Succeeded());
  EXPECT_TRUE(m.machine.IsProvableGarbage(m.Handle(2)));
  EXPECT_THAT((*m.machine.FindObject("k"))->chunks(), ElementsAre(ChunkRun{1, 1}, ChunkRun{3, 1}));
}

TEST(WritesTest, ChunksMaySealInAnyOrder) {
  TestMachine m;
  const uint64_t draft = m.Begin("k", 4).draft_id();
  const std::vector<Chunk> chunks = {{2, 0, 10, 5}, {1, 1, 10, 6}, {4, 2, 10, 7}, {3, 3, 9, 8}};
  for (int i : {3, 1, 0, 2}) {
    EXPECT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)),
                RefusedFor(v1::REASON_INVALID_ARGUMENT))
        << "a gap; the draft lives";
    ASSERT_THAT(m.Seal(draft, {chunks[i]}), Succeeded());
  }
  ASSERT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)), Succeeded());
  ASSERT_OK_AND_ASSIGN(const auto views, m.machine.FindChunks("k", Generation(1), 0, 10));
  std::vector<uint64_t> sequences;
  for (const auto& view : views) sequences.push_back(view.handle.sequence());
  EXPECT_THAT(sequences, ElementsAre(2, 1, 4, 3));
}

TEST(WritesTest, SealingTheSameFactsAgainIsOkOtherFactsAreNot) {
  TestMachine m;
  const uint64_t draft = m.Begin("k", 3).draft_id();
  const Chunk chunk{1, 0, 100, 5};
  ASSERT_THAT(m.Seal(draft, {chunk}), Succeeded());
  EXPECT_THAT(m.Seal(draft, {chunk, {2, 1, 100, 6}}), Succeeded());
  const auto refused = RefusedFor(v1::REASON_INVALID_ARGUMENT);
  EXPECT_THAT(m.Seal(draft, {{1, 0, 99, 5}}), refused);
  EXPECT_THAT(m.Seal(draft, {{1, 0, 100, 4}}), refused);
  EXPECT_THAT(m.Seal(draft, {{1, 2, 100, 5}}), refused) << "another position";
  EXPECT_THAT(m.Seal(draft, {{3, 0, 100, 5}}), refused) << "another chunk at the position";
  EXPECT_THAT(m.Seal(draft, {{3, 2, 100, 5}, {3, 3, 100, 5}}), refused) << "twice in one command";
  EXPECT_EQ(m.shard().chunks().size(), 2u);
}

TEST(WritesTest, BadSealsSealNothing) {
  TestMachine m;
  const uint64_t draft = m.Begin("k", 2).draft_id();
  const uint64_t other = m.Begin("k", 1).draft_id();
  const auto refused = [&](const mlog::SealedChunk& bad) {
    mlog::Command command = m.Next();
    command.mutable_seal_chunks()->set_draft_id(draft);
    *command.mutable_seal_chunks()->add_chunks() = TestMachine::ToSealed({1, 0, 100, 5});
    *command.mutable_seal_chunks()->add_chunks() = bad;
    EXPECT_THAT(m.Apply(command), RefusedFor(v1::REASON_INVALID_ARGUMENT));
    EXPECT_EQ(m.shard().chunks().size(), 0u);
  };
  refused(TestMachine::ToSealed({2, 1, 0, 5}));
  refused(TestMachine::ToSealed({2, 1, kChunkBytesMax + 1, 5}));
  refused(TestMachine::ToSealed({2, kChunksPerObjectMax, 1, 5}));
  refused(TestMachine::ToSealed({3, 1, 1, 5}));  // the other draft's
  refused(TestMachine::ToSealed({4, 1, 1, 5}));  // never allocated
  refused(TestMachine::ToSealed({ChunkHandle(ShardId(1), 2).value(), 1, 1, 5}));
  refused(TestMachine::ToSealed({2, 1, 1, 5}, {1}));  // fewer than required
  refused(TestMachine::ToSealed({2, 1, 1, 5}, {1, 1}));
  refused(TestMachine::ToSealed({2, 1, 1, 5}, {0, 1}));
  refused(TestMachine::ToSealed({2, 1, 1, 5}, {1, 65536}));
  refused(TestMachine::ToSealed({2, 1, 1, 5}, {1, 2, 3, 4, 5, 6}));
  EXPECT_NE(m.shard().drafts().Find(DraftId(other)), nullptr);
}

TEST(WritesTest, ACommitThatDoesNotAddUpLeavesTheDraftAlive) {
  TestMachine m;
  const auto [draft, chunks] = m.Write("k", {100, 7});
  const auto refused = [&m, draft = draft, chunks = chunks](auto change) {
    mlog::Command commit = m.CommitCommand("k", draft, chunks);
    change(*commit.mutable_commit());
    EXPECT_THAT(m.Apply(commit), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  };
  refused([](mlog::Command::Commit& op) { op.set_key("other"); });
  refused([](mlog::Command::Commit& op) { op.set_size_bytes(108); });
  refused([](mlog::Command::Commit& op) { op.set_crc32c(op.crc32c() + 1); });
  refused([](mlog::Command::Commit& op) { op.set_chunk_count(1); });
  refused([](mlog::Command::Commit& op) { op.set_chunk_count(3); });
  EXPECT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)), Succeeded());
}

TEST(WritesTest, AllButTheLastChunkMustHaveOneLength) {
  TestMachine m;
  for (const std::vector<uint32_t>& lengths :
       {std::vector<uint32_t>{100, 99, 100}, {100, 101}, {100, 100, 50, 50}}) {
    EXPECT_THAT(m.PutChunks("k", lengths), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  }
  EXPECT_THAT(m.PutChunks("k", {100, 100, 100}), Succeeded());
}

TEST(WritesTest, AFailedPreconditionEndsTheDraftAndFreesItsChunks) {
  TestMachine m;
  m.Put("k", "there");
  const auto [draft, chunks] = m.Write("k", {100, 7});
  mlog::Command commit = m.CommitCommand("k", draft, chunks);
  commit.mutable_commit()->set_if_generation_match(0);
  EXPECT_THAT(m.Apply(commit), RefusedFor(v1::REASON_GENERATION_MISMATCH));
  EXPECT_TRUE(m.machine.IsProvableGarbage(m.Handle(chunks[0].sequence)));
  EXPECT_EQ(m.shard().chunks().size(), 0u);
  EXPECT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)), RefusedFor(v1::REASON_DRAFT_ENDED));
  EXPECT_EQ((*m.machine.FindObject("k"))->inline_data(), "there");
}

TEST(WritesTest, EverythingAfterTheEndOfADraftIsRefused) {
  TestMachine m;
  const auto [draft, chunks] = m.Write("k", {100});
  ASSERT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)), Succeeded());
  EXPECT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)), RefusedFor(v1::REASON_DRAFT_ENDED));
  EXPECT_THAT(m.Allocate(draft, 1), RefusedFor(v1::REASON_DRAFT_ENDED));
  EXPECT_THAT(m.Seal(draft, chunks), RefusedFor(v1::REASON_DRAFT_ENDED));
}

TEST(WritesTest, OnlyAnUnrenewedDraftExpires) {
  TestMachine m;
  const auto [draft, chunks] = m.Write("k", {100});
  m.now_ms += TestMachine::kExpiryMs - 1;
  ASSERT_THAT(m.Allocate(draft, 0), Succeeded());  // renews
  m.now_ms += TestMachine::kExpiryMs - 1;
  EXPECT_THAT(m.shard().drafts().Due(m.now_ms, 10), IsEmpty());
  m.Apply(ExpireDraft(draft));
  ASSERT_THAT(m.Seal(draft, chunks), Succeeded()) << "not due: still there, and renewed";
  m.now_ms += TestMachine::kExpiryMs;
  EXPECT_THAT(m.shard().drafts().Due(m.now_ms, 10), ElementsAre(DraftId(draft)));
  m.Apply(ExpireDraft(draft));
  EXPECT_THAT(m.Apply(m.CommitCommand("k", draft, chunks)), RefusedFor(v1::REASON_DRAFT_ENDED));
  EXPECT_TRUE(m.machine.IsProvableGarbage(m.Handle(1)));
}

TEST(WritesTest, ARetriedBeginGivesTheSameHandles) {
  TestMachine m;
  mlog::Command begin = m.Next();
  auto& op = *begin.mutable_begin_write();
  op.set_key("k");
  op.set_wanted_replicas(3);
  op.set_required_replicas(2);
  op.set_chunk_count(5);
  const std::string first = m.Apply(begin).SerializeAsString();
  EXPECT_EQ(m.Apply(begin).SerializeAsString(), first);
  EXPECT_EQ(m.shard().allocated_mark(), 5u);
  EXPECT_EQ(m.shard().drafts().size(), 1u);
}

TEST(WritesTest, BadBeginsAreRefused) {
  TestMachine m;
  const auto refused = [&m](uint32_t wanted, uint32_t required, uint32_t count) {
    mlog::Command command = m.Next();
    auto& op = *command.mutable_begin_write();
    op.set_key("k");
    op.set_wanted_replicas(wanted);
    op.set_required_replicas(required);
    op.set_chunk_count(count);
    EXPECT_THAT(m.Apply(command), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  };
  refused(0, 0, 1);
  refused(6, 2, 1);
  refused(3, 0, 1);
  refused(3, 4, 1);
  refused(3, 2, 257);
  EXPECT_EQ(m.shard().drafts().size(), 0u);
}

TEST(WritesTest, ADraftHasABoundedNumberOfHandles) {
  TestMachine m;
  const uint64_t draft = m.Begin("k", 0).draft_id();
  for (uint64_t i = 0; i < kDraftHandlesMax; i += kAllocateChunksMax) {
    ASSERT_THAT(m.Allocate(draft, kAllocateChunksMax), Succeeded());
  }
  EXPECT_THAT(m.Allocate(draft, 1), RefusedFor(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(m.Allocate(draft, 0), Succeeded());
}

TEST(WritesTest, AnEmptyObjectMayBeWrittenThroughADraft) {
  TestMachine m;
  const uint64_t draft = m.Begin("k", 0).draft_id();
  ASSERT_THAT(m.Apply(m.CommitCommand("k", draft, {})), Succeeded());
  EXPECT_EQ((*m.machine.FindObject("k"))->size_bytes(), 0u);
  ASSERT_OK_AND_ASSIGN(const auto views, m.machine.FindChunks("k", Generation(1), 0, 10));
  EXPECT_THAT(views, IsEmpty());
  EXPECT_THAT(m.Delete("k"), Succeeded());
}

TEST(WritesTest, AnObjectOf64KiChunksIsWrittenReadDeletedAndCarriedByAnImage) {
  TestMachine m;
  const uint64_t draft = m.Begin("big", 0).draft_id();
  std::vector<Chunk> all;
  while (all.size() < kChunksPerObjectMax) {
    const uint64_t first = m.Allocate(draft, kAllocateChunksMax).allocated().first_sequence();
    std::vector<Chunk> batch;
    for (uint64_t i = 0; i < kAllocateChunksMax; ++i) {
      const uint64_t position = all.size() + i;
      batch.push_back({first + i, position, kChunkBytesMax, static_cast<uint32_t>(position * 31)});
    }
    ASSERT_THAT(m.Seal(draft, batch), Succeeded());
    all.insert(all.end(), batch.begin(), batch.end());
  }
  TestMachine halfway;  // the draft travels too
  ASSERT_OK(halfway.machine.RestoreImage("shard-00000", m.machine.TakeImage("shard-00000")));
  EXPECT_EQ(halfway.shard().drafts().Find(DraftId(draft))->prefix_count(), kChunksPerObjectMax);

  ASSERT_THAT(m.Apply(m.CommitCommand("big", draft, all)), Succeeded());
  EXPECT_EQ((*m.machine.FindObject("big"))->size_bytes(), kObjectBytesMax);
  EXPECT_EQ((*m.machine.FindObject("big"))->chunks().size(), 1u) << "one run";
  ASSERT_OK_AND_ASSIGN(const auto views,
                       m.machine.FindChunks("big", Generation(1), kChunksPerObjectMax - 2, 1024));
  ASSERT_EQ(views.size(), 2u);
  EXPECT_EQ(views[1].offset_bytes, kObjectBytesMax - kChunkBytesMax);
  EXPECT_EQ(views[1].handle, m.Handle(all.back().sequence));

  const std::string image = m.machine.TakeImage("shard-00000");
  ASSERT_OK(halfway.machine.RestoreImage("shard-00000", image));
  EXPECT_EQ(halfway.shard().chunks().size(), kChunksPerObjectMax);
  ASSERT_THAT(m.Delete("big"), Succeeded());
  EXPECT_EQ(m.shard().doomed().handle_count(), kChunksPerObjectMax);
}

}  // namespace
}  // namespace ballast::master
