// SPDX-License-Identifier: Apache-2.0
// Moves of replicas, replication factors and balance through the metadata client.
#include "common/types/error.h"
#include "gmock/gmock.h"
#include "tests/unit/client/client_fixture.h"

namespace ballast::client {
namespace {

using ::testing::ElementsAre;

using Move = v1::MoveReplicasRequest::Move;

class MetadataMovesTest : public ClientTest {
 protected:
  static Move MoveOf(uint32_t shard, uint64_t sequence) {
    Move move;
    move.set_handle(ChunkHandle(ShardId(shard), sequence).value());
    move.set_from_server_id("s1");
    move.set_to_server_id("s2");
    return move;
  }
  std::vector<MoveOutcome> Run(std::vector<Move> moves, CallControl control = {}) {
    return metadata_.MoveReplicas(std::move(moves), absl::Minutes(5), control);
  }
  // Shards 8 to 15 belong to group 2.
  void AddGroup() {
    v1::Configuration two = *cluster_.CurrentConfiguration();
    two.set_version(2);
    v1::GroupInfo* const group = two.add_groups();
    group->set_group_id(2);
    group->add_masters()->set_node_id(1);
    group->mutable_masters(0)->set_address("n1:1");
    for (int shard = 8; shard < 16; ++shard) {
      two.set_shard_owner(shard, 2);
    }
    cluster_.Set(two);
  }
};

TEST_F(MetadataMovesTest, EachMoveHasItsOwnOutcomeInTheOrderGiven) {
  const auto outcomes = Run({MoveOf(1, 3), MoveOf(1, 4), MoveOf(2, 5)});
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_OK(outcomes[0].status);
  EXPECT_EQ(outcomes[0].bytes_copied, MoveOf(1, 3).handle());
  EXPECT_THAT(outcomes[1].status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_OK(outcomes[2].status);
  EXPECT_EQ(master_.calls("MoveReplicas"), 1);
}

TEST_F(MetadataMovesTest, MovesGoToTheGroupOfTheirHandlesShard) {
  AddGroup();
  const auto outcomes = Run({MoveOf(1, 1), MoveOf(9, 1), MoveOf(2, 1), MoveOf(15, 1)});
  for (const MoveOutcome& outcome : outcomes) {
    EXPECT_OK(outcome.status);
  }
  std::vector<std::set<uint64_t>> calls;
  for (const auto& request : master_.moves()) {
    std::set<uint64_t>& shards = calls.emplace_back();
    for (const Move& move : request.moves()) {
      shards.insert(ChunkHandle(move.handle()).shard().value());
    }
  }
  EXPECT_THAT(calls, ::testing::UnorderedElementsAre(ElementsAre(1, 2), ElementsAre(9, 15)));
}

TEST_F(MetadataMovesTest, ACallThatWasNotExecutedIsTriedAgain) {
  master_.SetLeader("m3:1");
  master_.Inject("MoveReplicas", {NotReadyError("loading", absl::Milliseconds(5)), false});
  master_.Inject("MoveReplicas", {WrongGroupError(1, "moved"), false});
  EXPECT_OK(Run({MoveOf(1, 1)})[0].status);
  EXPECT_EQ(master_.moves().size(), 1u);
}

TEST_F(MetadataMovesTest, ALostAnswerIsToldAndNotTriedAgain) {
  for (const absl::Status& lost :
       {absl::UnavailableError("lost"), absl::DeadlineExceededError("late"),
        absl::CancelledError("gone")}) {
    const int calls = master_.calls("MoveReplicas");
    master_.Inject("MoveReplicas", {lost, true});
    const auto outcomes = Run({MoveOf(1, 1), MoveOf(1, 3)});
    EXPECT_THAT(outcomes[0].status, HasReason(v1::REASON_OUTCOME_UNKNOWN));
    EXPECT_THAT(outcomes[1].status, HasReason(v1::REASON_OUTCOME_UNKNOWN));
    EXPECT_EQ(master_.calls("MoveReplicas"), calls + 1);
  }
}

TEST_F(MetadataMovesTest, AFinalRefusalIsToldAsItIs) {
  master_.Inject("MoveReplicas", {InvalidArgument("from_server_id"), false});
  EXPECT_THAT(Run({MoveOf(1, 1)})[0].status, HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(Run({MoveOf(99, 1)})[0].status, HasReason(v1::REASON_INVALID_ARGUMENT))
      << "there is no such shard";
}

TEST_F(MetadataMovesTest, ManyMovesAreSplitIntoCalls) {
  std::vector<Move> moves;
  for (uint64_t i = 0; i < 2500; ++i) {
    moves.push_back(MoveOf(1, 2 * i + 1));
  }
  for (const MoveOutcome& outcome : Run(moves)) {
    ASSERT_OK(outcome.status);
  }
  EXPECT_EQ(master_.calls("MoveReplicas"), 3);
  EXPECT_TRUE(Run({}).empty());
}

TEST_F(MetadataMovesTest, ACancelledRunBeginsNothing) {
  Cancellation cancel;
  cancel.Cancel();
  EXPECT_THAT(Run({MoveOf(1, 1)}, CallControl{&cancel, {}})[0].status,
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(master_.calls("MoveReplicas"), 0);
}

TEST_F(MetadataMovesTest, AReplicationFactorIsSetOnceHoweverOftenItIsTried) {
  ASSERT_OK(Put("k", RandomBytes(KiB(300))));
  v1::SetReplicationRequest request;
  request.set_key("k");
  request.set_wanted_replicas(5);
  master_.Inject("SetReplication", {absl::UnavailableError("lost"), true}, 2);
  ASSERT_OK(metadata_.SetReplication(request, {}));
  EXPECT_EQ(master_.executions("SetReplication"), 1);
  EXPECT_EQ(master_.Find("k")->object().wanted_replicas(), 5u);
  request.set_key("missing");
  EXPECT_THAT(metadata_.SetReplication(request, {}), HasReason(v1::REASON_OBJECT_NOT_FOUND));
}

TEST_F(MetadataMovesTest, TheBalanceIsAskedOfAGroup) {
  ASSERT_OK_AND_ASSIGN(const auto balance, metadata_.CheckBalance(GroupId(1), {}));
  EXPECT_EQ(balance.average_utilization_pct(), 50);
}

// --- large writes in batches
// ----------------------------------------------------------------------

class LargeBatchTest : public ClientTest {
 protected:
  using Operation = v1::BatchRequest::Operation;

  static Operation Begin(const std::string& key, uint32_t chunk_count) {
    Operation operation;
    operation.mutable_begin_write()->set_key(key);
    operation.mutable_begin_write()->set_chunk_count(chunk_count);
    operation.mutable_begin_write()->set_chunk_bytes(100);
    return operation;
  }
  static std::vector<Operation> End(const std::string& key, const v1::BeginWriteResponse& begun) {
    std::vector<Operation> operations(3);
    v1::SealChunksRequest& seal = *operations[0].mutable_seal_chunks();
    seal.set_draft_id(begun.draft_id());
    v1::SealedChunk& chunk = *seal.add_chunks();
    chunk.set_handle(begun.chunks(0).handle());
    chunk.set_length_bytes(100);
    chunk.set_crc32c(7);
    chunk.add_server_indexes(1);
    chunk.add_server_indexes(2);
    v1::CommitObjectRequest& commit = *operations[1].mutable_commit_object();
    commit.set_key(key);
    commit.set_draft_id(begun.draft_id());
    commit.set_size_bytes(100);
    commit.set_crc32c(7);
    commit.set_chunk_count(1);
    operations[2].mutable_set_replication()->set_key(key);
    operations[2].mutable_set_replication()->set_wanted_replicas(1);
    return operations;
  }
};

TEST_F(LargeBatchTest, WritesBeginAndEndInBatchesExactlyOnce) {
  master_.Inject("Batch", {absl::UnavailableError("lost"), true});
  auto begun = metadata_.Batch({Begin("a", 1), Begin("b", 1)}, {});
  ASSERT_OK(begun[0]);
  ASSERT_OK(begun[1]);
  EXPECT_EQ(master_.executions("BeginWrite"), 2);
  std::vector<Operation> operations = End("a", begun[0]->begin_write());
  for (Operation& operation : End("b", begun[1]->begin_write())) {
    operations.push_back(std::move(operation));
  }
  master_.Inject("Batch", {absl::UnavailableError("lost"), true});
  for (const auto& outcome : metadata_.Batch(operations, {})) {
    EXPECT_OK(outcome);
  }
  for (const char* method : {"SealChunks", "CommitObject", "SetReplication"}) {
    EXPECT_EQ(master_.executions(method), 2) << method;
  }
  EXPECT_EQ(master_.Find("b")->object().wanted_replicas(), 1u);
}

TEST_F(LargeBatchTest, ASealGoesWhereItsDraftIs) {
  auto begun = metadata_.Batch({Begin("a", 1)}, {});
  ASSERT_OK(begun[0]);
  const size_t sessions = master_.calls("OpenSessions");
  auto outcomes = metadata_.Batch(End("a", begun[0]->begin_write()), {});
  for (const auto& outcome : outcomes) {
    EXPECT_OK(outcome);
  }
  EXPECT_EQ(master_.calls("OpenSessions"), sessions) << "all in the session of the key's shard";
}

TEST_F(LargeBatchTest, ADraftOfNoShardFailsAloneAndAtOnce) {
  std::vector<Operation> operations = {Begin("a", 1), {}};
  operations[1].mutable_seal_chunks()->set_draft_id(ChunkHandle(ShardId(999), 1).value());
  master_.Inject("Batch", {absl::UnavailableError("lost"), false});
  const auto outcomes = metadata_.Batch(operations, {});
  EXPECT_OK(outcomes[0]);
  EXPECT_THAT(outcomes[1], HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(LargeBatchTest, CallsKeepTheLimitsOfChunksBegun) {
  std::vector<Operation> placed;
  std::vector<Operation> handles;
  for (int i = 0; i < 5; ++i) {
    placed.push_back(Begin(absl::StrCat("p", i), 256));
  }
  for (int i = 0; i < 65; ++i) {
    handles.push_back(Begin(absl::StrCat("h", i), 256));
    handles.back().mutable_begin_write()->set_no_placement(true);
  }
  for (const auto& outcome : metadata_.Batch(placed, {})) {
    EXPECT_OK(outcome);
  }
  EXPECT_EQ(master_.calls("Batch"), 2);
  for (const auto& outcome : metadata_.Batch(handles, {})) {
    ASSERT_OK(outcome);
    EXPECT_EQ(outcome->begin_write().chunks(0).servers_size(), 0);
  }
  EXPECT_EQ(master_.calls("Batch"), 4);
}

}  // namespace
}  // namespace ballast::client
