// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/batch_call.h"

#include <optional>
#include <string>
#include <vector>

#include "common/types/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/master/core/commands.h"
#include "services/master/core/requests.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/control/control_fixture.h"

namespace ballast::master {
namespace {

using testing::HasReason;

class BatchCallTest : public ControlFixture {
 protected:
  void AddPut(const std::string& key, const std::string& value) {
    v1::PutInlineRequest& put = *request_.add_operations()->mutable_put_inline();
    put.set_key(key);
    put.set_value(value);
    put.set_crc32c(ComputeCrc32c(value).value);
    Identify(key, *put.mutable_request());
  }
  void AddDelete(const std::string& key) {
    v1::DeleteObjectRequest& removal = *request_.add_operations()->mutable_delete_object();
    removal.set_key(key);
    Identify(key, *removal.mutable_request());
  }
  v1::BeginWriteRequest& AddBegin(const std::string& key, uint32_t chunk_count) {
    v1::BeginWriteRequest& begin = *request_.add_operations()->mutable_begin_write();
    begin.set_key(key);
    begin.set_chunk_count(chunk_count);
    begin.set_chunk_bytes(100);
    Identify(key, *begin.mutable_request());
    return begin;
  }
  // Of one chunk, its bytes `crc32c` says.
  void AddSeal(const v1::BeginWriteResponse& begun, uint32_t crc32c) {
    v1::SealChunksRequest& seal = *request_.add_operations()->mutable_seal_chunks();
    seal.set_draft_id(begun.draft_id());
    v1::SealedChunk& chunk = *seal.add_chunks();
    chunk.set_handle(begun.chunks(0).handle());
    chunk.set_length_bytes(100);
    chunk.set_crc32c(crc32c);
    for (uint32_t server : {7u, 8u}) chunk.add_server_indexes(server);
    IdentifyShard(ChunkHandle(begun.draft_id()).shard().value(), *seal.mutable_request());
  }
  void AddCommit(const std::string& key, const v1::BeginWriteResponse& begun, uint32_t crc32c) {
    v1::CommitObjectRequest& commit = *request_.add_operations()->mutable_commit_object();
    commit.set_key(key);
    commit.set_draft_id(begun.draft_id());
    commit.set_size_bytes(100);
    commit.set_crc32c(crc32c);
    commit.set_chunk_count(1);
    Identify(key, *commit.mutable_request());
  }
  void AddReplication(const std::string& key, uint32_t wanted) {
    v1::SetReplicationRequest& set = *request_.add_operations()->mutable_set_replication();
    set.set_key(key);
    set.set_wanted_replicas(wanted);
    Identify(key, *set.mutable_request());
  }
  void AddGet(const std::string& key) {
    request_.add_operations()->mutable_get_object()->set_key(key);
  }
  void Identify(const std::string& key, v1::RequestId& id) {
    IdentifyShard(machine_.ShardOf(key).value(), id);
  }
  void IdentifyShard(uint32_t shard, v1::RequestId& id) {
    if (sessions_[shard] == 0) sessions_[shard] = OpenSession(shard);
    id.set_session_id(sessions_[shard]);
    id.set_sequence(++sequence_);
  }
  absl::Status RunIt() {
    EXPECT_OK(Check(request_, kShards, DefaultSettings()));
    response_.Clear();
    std::vector<mlog::Command> commands;
    for (const auto& one : request_.operations()) {
      commands.push_back(ToCommand(one, kShards, DefaultSettings(), {.draft_expiry_ms = 5000}));
    }
    std::optional<absl::Status> answer;
    executor_->Post([&] {
      RunBatch({&machine_, &view_, &proposer_}, request_, std::move(commands), response_,
               [&](absl::Status status) { answer = status; });
    });
    CHECK(scheduler_.RunUntilTrue([&] { return answer.has_value(); }, absl::Seconds(1)));
    return *answer;
  }
  const v1::BatchResponse::Outcome& outcome(int i) { return response_.outcomes(i); }

  v1::BatchRequest request_;
  v1::BatchResponse response_;
  uint64_t sessions_[kShards] = {};
  uint64_t sequence_ = 0;
};

TEST_F(BatchCallTest, ManyPutsAreOneEntryWithAnOutcomeEach) {
  for (int i = 0; i < 100; ++i) AddPut("key" + std::to_string(i), "v");
  const RaftIndex before = log_.state().last;
  ASSERT_OK(RunIt());
  EXPECT_EQ(log_.state().last, before.Next());
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(outcome(i).code(), 0u);
    EXPECT_GT(outcome(i).put_inline().generation(), 0u);
  }
}

TEST_F(BatchCallTest, OperationsOnOneKeyTakeEffectInListOrder) {
  AddGet("k");
  AddPut("k", "1");
  AddGet("k");
  AddGet("k");
  AddPut("k", "2");
  AddPut("k", "3");
  AddGet("k");
  AddDelete("k");
  AddGet("k");
  ASSERT_OK(RunIt());
  const auto not_found = static_cast<uint32_t>(absl::StatusCode::kNotFound);
  EXPECT_EQ(outcome(0).code(), not_found);
  EXPECT_EQ(outcome(0).error().reason(), v1::REASON_OBJECT_NOT_FOUND);
  EXPECT_FALSE(outcome(0).has_get_object());
  EXPECT_EQ(outcome(2).get_object().inline_data(), "1");
  EXPECT_EQ(outcome(3).get_object().inline_data(), "1");
  EXPECT_EQ(outcome(6).get_object().inline_data(), "3");
  EXPECT_EQ(outcome(7).delete_object().generation(), outcome(6).get_object().object().generation());
  EXPECT_EQ(outcome(8).code(), not_found);
}

TEST_F(BatchCallTest, OneFailureLeavesTheOthersAlone) {
  AddDelete("missing");
  AddPut("k", "v");
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(0).error().reason(), v1::REASON_OBJECT_NOT_FOUND);
  EXPECT_FALSE(outcome(0).text().empty());
  EXPECT_EQ(outcome(1).code(), 0u);
}

TEST_F(BatchCallTest, WithoutALeaderTheBatchFailsAsAWhole) {
  AddPut("k", "v");
  log_.SetRole(ReplicatedLog::Role::kFollower);
  EXPECT_THAT(RunIt(), HasReason(v1::REASON_NOT_LEADER));
  request_.Clear();
  AddGet("k");
  EXPECT_THAT(RunIt(), HasReason(v1::REASON_NOT_LEADER));
}

TEST_F(BatchCallTest, GetsBeyondWhatAReplyHoldsAreRefusedOneByOne) {
  const std::string value(kInlineBytesMax, 'v');
  ASSERT_EQ(Run(Put("k", value))->code(), 0u);
  for (int i = 0; i < 80; ++i) AddGet("k");
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(0).get_object().inline_data(), value);
  EXPECT_EQ(outcome(79).error().reason(), v1::REASON_OVERLOADED);
  EXPECT_LT(response_.ByteSizeLong(), kMessageBytesMax);
}

// --- large writes
// ----------------------------------------------------------------------------------------------

TEST_F(BatchCallTest, LargeWritesBeginWithPlacementAndEndInOneEntryEach) {
  for (int i = 0; i < 10; ++i) AddBegin("key" + std::to_string(i), 2);
  RaftIndex before = log_.state().last;
  ASSERT_OK(RunIt());
  EXPECT_EQ(log_.state().last, before.Next());
  EXPECT_EQ(view_.requests.size(), 10u);
  std::vector<v1::BeginWriteResponse> begun;
  for (int i = 0; i < 10; ++i) {
    begun.push_back(outcome(i).begin_write());
    ASSERT_EQ(begun[i].chunks_size(), 2);
    EXPECT_EQ(begun[i].chunks(1).handle(), begun[i].chunks(0).handle() + 1);
    EXPECT_EQ(begun[i].chunks(0).servers_size(), 3);
    EXPECT_EQ(begun[i].wanted_replicas(), 3u);
    EXPECT_EQ(begun[i].required_replicas(), 2u);
    EXPECT_EQ(begun[i].expiry_ms(), 5000u);
  }
  request_.Clear();
  for (uint32_t i = 0; i < 10; ++i) {
    AddSeal(begun[i], i);
    AddCommit("key" + std::to_string(i), begun[i], i);
    AddReplication("key" + std::to_string(i), 5);
  }
  before = log_.state().last;
  ASSERT_OK(RunIt());
  EXPECT_EQ(log_.state().last, before.Next()) << "seal, commit and the rest are one entry";
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(outcome(3 * i).has_seal_chunks()) << outcome(3 * i).text();
    EXPECT_GT(outcome(3 * i + 1).commit_object().generation(), 0u) << outcome(3 * i + 1).text();
    EXPECT_TRUE(outcome(3 * i + 2).has_set_replication()) << outcome(3 * i + 2).text();
    EXPECT_EQ((*machine_.FindObject("key" + std::to_string(i)))->wanted_replicas(), 5u);
  }
}

TEST_F(BatchCallTest, WithoutPlacementOnlyHandlesAreGiven) {
  view_.servers = 0;
  AddBegin("k", 256).set_no_placement(true);
  request_.mutable_operations(0)->mutable_begin_write()->clear_chunk_bytes();
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(0).code(), 0u) << outcome(0).text();
  EXPECT_EQ(outcome(0).begin_write().chunks_size(), 256);
  EXPECT_EQ(outcome(0).begin_write().chunks(255).servers_size(), 0);
  EXPECT_GT(outcome(0).begin_write().chunks(255).handle(), 0u);
  EXPECT_TRUE(view_.requests.empty()) << "nobody was asked for servers";
}

TEST_F(BatchCallTest, AWriteThatFindsNoServersLeavesNoDraftAndTheOthersAlone) {
  view_.servers = 1;
  AddBegin("k", 1);
  AddPut("p", "v");
  AddBegin("k", 1).set_wanted_replicas(1);
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(0).error().reason(), v1::REASON_TOO_FEW_SERVERS);
  EXPECT_FALSE(outcome(0).has_begin_write());
  EXPECT_EQ(outcome(1).code(), 0u);
  EXPECT_EQ(outcome(2).begin_write().chunks_size(), 1);
  EXPECT_EQ(machine_.Count().drafts, 1u);
}

TEST_F(BatchCallTest, ARepeatedBatchHasTheSameDraftsAndHandles) {
  AddBegin("k", 3);
  ASSERT_OK(RunIt());
  const v1::BatchResponse first = response_;
  ASSERT_OK(RunIt());
  EXPECT_EQ(response_.SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(machine_.Count().drafts, 1u);
}

TEST_F(BatchCallTest, AReadSeesTheCommitBeforeItAndNotTheOneAfterIt) {
  AddBegin("k", 1);
  ASSERT_OK(RunIt());
  const v1::BeginWriteResponse begun = outcome(0).begin_write();
  request_.Clear();
  AddGet("k");
  AddSeal(begun, 4);
  AddCommit("k", begun, 4);
  AddGet("k");
  AddReplication("k", 1);
  AddGet("k");
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(0).error().reason(), v1::REASON_OBJECT_NOT_FOUND);
  EXPECT_EQ(outcome(3).get_object().object().wanted_replicas(), 3u);
  EXPECT_EQ(outcome(5).get_object().object().wanted_replicas(), 1u);
}

TEST_F(BatchCallTest, FailuresOfWritesStandAlone) {
  AddBegin("k", 1);
  ASSERT_OK(RunIt());
  const v1::BeginWriteResponse begun = outcome(0).begin_write();
  request_.Clear();
  AddSeal(begun, 4);
  AddCommit("k", begun, 5);  // another checksum
  AddCommit("k", begun, 4);
  AddCommit("k", begun, 4);  // the draft has ended
  AddReplication("missing", 2);
  ASSERT_OK(RunIt());
  EXPECT_EQ(outcome(1).error().reason(), v1::REASON_INVALID_ARGUMENT);
  EXPECT_EQ(outcome(2).code(), 0u);
  EXPECT_EQ(outcome(3).error().reason(), v1::REASON_DRAFT_ENDED);
  EXPECT_EQ(outcome(4).error().reason(), v1::REASON_OBJECT_NOT_FOUND);
}

TEST_F(BatchCallTest, ABatchAsksForNoMoreChunksThanItsAnswerHolds) {
  const auto check = [&] { return Check(request_, kShards, DefaultSettings()); };
  for (int i = 0; i < 4; ++i) AddBegin("k", 256);
  EXPECT_OK(check());
  AddBegin("k", 1);
  EXPECT_THAT(check(), HasReason(v1::REASON_INVALID_ARGUMENT));
  request_.Clear();
  for (int i = 0; i < 64; ++i) AddBegin("k", 256).set_no_placement(true);
  EXPECT_OK(check());
  AddBegin("k", 1).set_no_placement(true);
  EXPECT_THAT(check(), HasReason(v1::REASON_INVALID_ARGUMENT));
}

}  // namespace
}  // namespace ballast::master
