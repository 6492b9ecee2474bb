// SPDX-License-Identifier: Apache-2.0
// Copies and trims from the call to the log, over heartbeats, in virtual time.
#include <optional>

#include "gmock/gmock.h"
#include "services/master/control/move_call.h"
#include "tests/unit/master/control/heartbeat_world.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class CopyEngineTest : public HeartbeatWorld {
 protected:
  // One call of MoveReplicas.
  struct Call {
    v1::MoveReplicasRequest request;
    v1::MoveReplicasResponse response;
    std::optional<absl::Status> status;

    // The outcome of a move, as a status.
    absl::Status Outcome(int index) const {
      const auto& outcome = response.outcomes(index);
      return outcome.code() == 0 ? absl::OkStatus() : MakeError(outcome.error(), outcome.text());
    }
  };

  void Add(Call& call, ChunkHandle handle, uint32_t from, uint32_t to) {
    auto& move = *call.request.add_moves();
    move.set_handle(handle.value());
    move.set_from_server_id(absl::StrCat("server-", from));
    move.set_to_server_id(absl::StrCat("server-", to));
  }
  void Start(Call& call) {
    RunMoves(copies_, call.request, call.response,
             [&call](const absl::Status& status) { call.status = status; });
  }
  bool Ends(Call& call, absl::Duration within = absl::Seconds(60)) {
    return sim_.RunUntilTrue([&] { return call.status.has_value(); }, within);
  }
  absl::Status Move(ChunkHandle handle, uint32_t from, uint32_t to) {
    Call call;
    Add(call, handle, from, to);
    Start(call);
    EXPECT_TRUE(Ends(call));
    EXPECT_EQ(call.status, absl::OkStatus());
    return call.response.outcomes_size() == 1 ? call.Outcome(0) : absl::UnknownError("none");
  }
  bool IsTrimmed(ChunkHandle handle, uint32_t server) {
    return machine_.FindShard(handle.shard())
        ->trims()
        .Contains(handle.sequence(), ServerIndex(server));
  }
  // A chunk that servers hold and have reported.
  ChunkHandle StoreAndReport(const std::vector<uint32_t>& servers) {
    const ChunkHandle handle = Store(servers).handle;
    sim_.RunFor(absl::Seconds(6));
    return handle;
  }
  template <typename Has>
  std::vector<v1::Command> Ordered(uint32_t index, Has has) {
    std::vector<v1::Command> found;
    for (const v1::Command& command : server(index).commands) {
      if ((command.*has)()) found.push_back(command);
    }
    return found;
  }
};

TEST_F(CopyEngineTest, AMoveCopiesLogsTrimsAndDeletes) {
  StartServers(4);
  const ChunkHandle handle = StoreAndReport({1, 2, 3});
  Call call;
  Add(call, handle, 1, 4);
  Start(call);
  sim_.RunFor(absl::Milliseconds(1));
  const auto orders = Ordered(4, &v1::Command::has_replicate);
  ASSERT_EQ(orders.size(), 1u) << "no tick was needed";
  EXPECT_EQ(orders[0].handle(), handle.value());
  EXPECT_EQ(orders[0].replicate().length_bytes(), 1000u);
  EXPECT_EQ(orders[0].replicate().crc32c(), 7u);
  EXPECT_EQ(orders[0].replicate().sources_size(), 3);
  EXPECT_EQ(orders[0].replicate().traffic(), v1::TRAFFIC_CLASS_REBALANCE);
  EXPECT_EQ(orders[0].fence().term(), 1u);
  EXPECT_FALSE(call.status.has_value());

  server(4).Beat(kShards);  // the result and the new replica
  sim_.RunFor(absl::Milliseconds(1));
  ASSERT_TRUE(call.status.has_value()) << "no tick was needed";
  EXPECT_EQ(*call.status, absl::OkStatus());
  EXPECT_EQ(call.Outcome(0), absl::OkStatus());
  EXPECT_EQ(call.response.outcomes(0).bytes_copied(), 1000u);
  EXPECT_TRUE(IsTrimmed(handle, 1));
  EXPECT_THAT(Readable(handle), UnorderedElementsAre(2, 3, 4));
  const auto deletes = Ordered(1, &v1::Command::has_delete_replica);
  ASSERT_EQ(deletes.size(), 1u);
  EXPECT_EQ(deletes[0].delete_replica().cause(), v1::Command::Delete::CAUSE_TRIM);
  EXPECT_EQ(deletes[0].delete_replica().length_bytes(), 1000u);

  server(1).Beat(kShards);
  sim_.RunFor(absl::Milliseconds(1));
  EXPECT_FALSE(IsTrimmed(handle, 1));
  EXPECT_THAT(Logged(handle), ElementsAre(2, 3, 4));
  EXPECT_FALSE(server(1).Holds(handle));
  EXPECT_THAT(Move(handle, 1, 4), HasReason(v1::REASON_REPLICA_NOT_FOUND)) << "it was made";
}

TEST_F(CopyEngineTest, UnaryCallersMoveToo) {
  StartServers(2);
  const ChunkHandle handle = Store({1}).handle;
  for (uint32_t s : {1, 2}) {
    muted_[s] = true;
    server(s).Disconnect();
    server(s).BeatUnary(kShards);
  }
  sim_.RunFor(absl::Milliseconds(1));
  Call call;
  Add(call, handle, 1, 2);
  Start(call);
  sim_.RunFor(absl::Milliseconds(1));
  server(2).BeatUnary(kShards);  // fetches the order
  EXPECT_TRUE(server(2).Holds(handle));
  server(2).BeatUnary(kShards);  // tells how it went
  sim_.RunFor(absl::Milliseconds(1));
  ASSERT_TRUE(call.status.has_value());
  EXPECT_EQ(call.Outcome(0), absl::OkStatus());
  server(1).BeatUnary(kShards);
  EXPECT_FALSE(server(1).Holds(handle)) << "the delete waited for it when the call was answered";
  server(1).BeatUnary(kShards);
  sim_.RunFor(absl::Milliseconds(1));
  EXPECT_FALSE(IsTrimmed(handle, 1));
  EXPECT_THAT(Logged(handle), ElementsAre(2));
}

TEST_F(CopyEngineTest, TheOutcomesOfOneCallAreItsMovesOwn) {
  StartServers(5);
  const ChunkHandle one = StoreAndReport({1, 2});
  const ChunkHandle two = StoreAndReport({1, 2});
  Call call;
  Add(call, one, 1, 3);
  Add(call, one, 1, 4);  // begins when the first has ended, and finds the source's replica trimmed
  Add(call, two, 1, 2);
  Add(call, two, 5, 4);
  Add(call, ChunkHandle(ShardId(0), 999), 1, 4);
  Add(call, two, 1, 9);
  Add(call, two, 2, 4);
  Start(call);
  ASSERT_TRUE(Ends(call));
  EXPECT_EQ(call.Outcome(0), absl::OkStatus());
  EXPECT_THAT(call.Outcome(1), HasReason(v1::REASON_REPLICA_NOT_FOUND));
  EXPECT_THAT(call.Outcome(2), HasReason(v1::REASON_REPLICA_EXISTS));
  EXPECT_THAT(call.Outcome(3), HasReason(v1::REASON_REPLICA_NOT_FOUND));
  EXPECT_THAT(call.Outcome(4), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_THAT(call.Outcome(5), HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_EQ(call.Outcome(6), absl::OkStatus());
  sim_.RunFor(absl::Seconds(12));
  EXPECT_THAT(Logged(one), ElementsAre(2, 3));
  EXPECT_THAT(Logged(two), ElementsAre(1, 4));
}

TEST_F(CopyEngineTest, ATrimIsRevokedWhenTheTargetIsLost) {
  StartServers(4);
  const ChunkHandle handle = StoreAndReport({1, 2, 3});
  server(1).obeys = false;  // hears the delete and does not get to it
  EXPECT_EQ(Move(handle, 1, 4), absl::OkStatus());
  ASSERT_TRUE(IsTrimmed(handle, 1));
  server(4).Disconnect();
  muted_[4] = true;
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(status(4).liveness(), v1::LIVENESS_DEAD);
  EXPECT_THAT(Ordered(1, &v1::Command::has_keep), ::testing::Not(IsEmpty()));
  EXPECT_TRUE(IsTrimmed(handle, 1)) << "it has not answered";
  EXPECT_THAT(Readable(handle), UnorderedElementsAre(2, 3));
  server(1).obeys = true;
  sim_.RunFor(absl::Seconds(20));
  EXPECT_FALSE(IsTrimmed(handle, 1));
  EXPECT_THAT(Readable(handle), UnorderedElementsAre(1, 2, 3));
  EXPECT_TRUE(server(1).Holds(handle));
}

TEST_F(CopyEngineTest, UnverifiedReplicasAreVerifiedBeforeTheSourceGoes) {
  StartServers(3);
  const Written written = Begin();
  for (uint32_t s : {1, 2}) server(s).Put(written.handle, {1000, 7, false}, /*verified=*/false);
  Seal(written, {1, 2});
  sim_.RunFor(absl::Seconds(6));
  server(2).refusals[v1::Command::kVerify] = v1::REASON_CHECKSUM_MISMATCH;
  Call call;
  Add(call, written.handle, 1, 3);
  Start(call);
  EXPECT_FALSE(Ends(call));
  EXPECT_EQ(Ordered(2, &v1::Command::has_verify).size(), 1u) << "asked again only after a while";
  EXPECT_FALSE(IsTrimmed(written.handle, 1));
  server(2).refusals.clear();
  EXPECT_TRUE(Ends(call));
  EXPECT_EQ(call.Outcome(0), absl::OkStatus());
}

TEST_F(CopyEngineTest, AChunkDeletedMeanwhileEndsItsMove) {
  StartServers(3);
  const Written written = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  server(3).obeys = false;
  Call call;
  Add(call, written.handle, 1, 3);
  Start(call);
  sim_.RunFor(absl::Milliseconds(1));
  ASSERT_EQ(Ordered(3, &v1::Command::has_replicate).size(), 1u);
  Abort(written);
  ASSERT_TRUE(Ends(call));
  EXPECT_THAT(call.Outcome(0), HasReason(v1::REASON_CHUNK_NOT_FOUND));
}

TEST_F(CopyEngineTest, AChunkDeletedAfterItsTrimIsGarbageEverywhere) {
  StartServers(3);
  const Written written = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  server(1).refusals[v1::Command::kDeleteReplica] = v1::REASON_STALE_FENCE;
  EXPECT_EQ(Move(written.handle, 1, 3), absl::OkStatus());
  EXPECT_TRUE(IsTrimmed(written.handle, 1));
  Abort(written);
  EXPECT_FALSE(IsTrimmed(written.handle, 1));
  server(1).refusals.clear();
  sim_.RunFor(absl::Seconds(30));
  for (uint32_t s : {1, 2, 3}) EXPECT_FALSE(server(s).Holds(written.handle)) << s;
}

TEST_F(CopyEngineTest, ALostOrderIsGivenAgainOnANewStream) {
  StartServers(3);
  const ChunkHandle handle = StoreAndReport({1, 2});
  server(3).obeys = false;
  Call call;
  Add(call, handle, 1, 3);
  Start(call);
  sim_.RunFor(absl::Milliseconds(1));
  ASSERT_EQ(Ordered(3, &v1::Command::has_replicate).size(), 1u);
  server(3).Disconnect();
  server(3).obeys = true;
  server(3).Connect();
  server(3).Beat(kShards);
  ASSERT_TRUE(Ends(call));
  EXPECT_EQ(call.Outcome(0), absl::OkStatus());
  EXPECT_EQ(Ordered(3, &v1::Command::has_replicate).size(), 2u);
}

TEST_F(CopyEngineTest, TheEndOfATermEndsCallsAndTheNextLeaderFinishesTheTrim) {
  StartServers(4);
  const ChunkHandle handle = StoreAndReport({1, 2, 3});
  server(4).obeys = false;
  Call begun;
  Add(begun, handle, 1, 4);
  Add(begun, handle, 2, 4);
  Start(begun);
  sim_.RunFor(absl::Milliseconds(1));
  Call fresh;
  Add(fresh, handle, 2, 4);
  Start(fresh);
  LeadAnew();
  sim_.RunFor(absl::Milliseconds(1));
  EXPECT_THAT(*begun.status, HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_THAT(*fresh.status, HasReason(v1::REASON_NOT_LEADER)) << "it had not begun";

  const auto reconnect = [&] {
    for (uint32_t s = 1; s <= 4; ++s) {
      server(s).Connect();
      KeepBeating(server(s));
    }
  };
  reconnect();
  sim_.RunFor(absl::Milliseconds(10));
  server(4).obeys = true;
  server(1).obeys = false;
  EXPECT_EQ(Move(handle, 1, 4), absl::OkStatus());
  ASSERT_TRUE(IsTrimmed(handle, 1));
  LeadAnew();
  server(1).obeys = true;
  server(1).commands.clear();
  sim_.RunFor(absl::Seconds(1));
  EXPECT_THAT(server(1).commands, IsEmpty());
  reconnect();
  sim_.RunFor(absl::Seconds(1));
  const auto deletes = Ordered(1, &v1::Command::has_delete_replica);
  ASSERT_EQ(deletes.size(), 1u);
  EXPECT_EQ(deletes[0].delete_replica().cause(), v1::Command::Delete::CAUSE_TRIM);
  sim_.RunFor(absl::Seconds(10));
  EXPECT_FALSE(IsTrimmed(handle, 1));
  EXPECT_THAT(Logged(handle), ElementsAre(2, 3, 4));
}

}  // namespace
}  // namespace ballast::master
