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

}  // namespace
}  // namespace ballast::master
