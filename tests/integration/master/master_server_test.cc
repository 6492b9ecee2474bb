// SPDX-License-Identifier: Apache-2.0
// The whole master on its real log beside a real shard controller: chunk servers' streams over gRPC
// from registration to death, garbage and quarantine, restart and misuse.
#include <string>

#include "gtest/gtest.h"
#include "tests/integration/master/master_server_fixture.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

TEST_F(MasterServerTest, StoresListsDeletesGarbageAndKeepsWhatItDoesNotKnow) {
  FakeServer& one = AddServer(1);
  FakeServer& two = AddServer(2);
  EXPECT_EQ(StatusOf(1).liveness(), v1::LIVENESS_ALIVE);
  const ChunkHandle foreign(ShardId(3), 4711);
  one.Put(foreign);
  const ChunkHandle handle = PutObject("a", {1, 2});
  EXPECT_EQ(ReplicasOf("a"), 2u);

  DeleteObject("a");
  EXPECT_TRUE(Until([&] {
    return one.Beat().ok() && two.Beat().ok() && !one.Holds(handle) && !two.Holds(handle);
  })) << "grace is 0, so the chunk is garbage soon";
  EXPECT_TRUE(one.Holds(foreign));
  EXPECT_EQ(StatusOf(1).quarantined_count(), 1u);
  for (const v1::Command& command : one.commands) {
    EXPECT_EQ(command.handle(), handle.value());
    EXPECT_EQ(command.fence().config_version(), 1u);
    EXPECT_GT(command.fence().term(), 0u);
  }
}

TEST_F(MasterServerTest, ASilentServerIsSuspectThenDeadAndItsReplicasDoNotCount) {
  FakeServer& one = AddServer(1);
  FakeServer& two = AddServer(2);
  PutObject("a", {1, 2});
  two.Disconnect();
  bool was_suspect = false;
  EXPECT_TRUE(Until([&] {
    EXPECT_OK(one.Beat());
    was_suspect |= StatusOf(2).liveness() == v1::LIVENESS_SUSPECT;
    return StatusOf(2).liveness() == v1::LIVENESS_DEAD;
  }));
  EXPECT_TRUE(was_suspect);
  EXPECT_EQ(ReplicasOf("a"), 1u);
  two.Connect(master_->address());
  EXPECT_OK(two.Beat());
  EXPECT_EQ(ReplicasOf("a"), 2u);
}

TEST_F(MasterServerTest, StrangersCopiesAndOtherClustersAreRefused) {
  FakeServer& one = AddServer(1);
  FakeServer stranger(9, cluster_);
  stranger.Connect(master_->address());
  EXPECT_THAT(stranger.Beat(), HasReason(v1::REASON_UNKNOWN_SERVER));

  FakeServer copy(1, cluster_);
  copy.Connect(master_->address());
  v1::Heartbeat heartbeat = copy.MakeHeartbeat();
  heartbeat.set_incarnation(777);
  EXPECT_OK(one.Beat());
  EXPECT_THAT(copy.Send(heartbeat), HasReason(v1::REASON_DUPLICATE_SERVER));

  FakeServer foreign(1, "00000000-0000-4000-8000-0000000000ff");
  foreign.Connect(master_->address());
  EXPECT_THAT(foreign.Beat(), HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_THAT(foreign.SendUnary(foreign.MakeHeartbeat()), HasReason(v1::REASON_WRONG_CLUSTER));

  v1::Heartbeat nonsense = one.MakeHeartbeat();
  nonsense.set_disk_utilization_pct(-1);
  EXPECT_THAT(one.SendUnary(nonsense), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_OK(one.Beat());
}

TEST_F(MasterServerTest, ARestartedMasterReadsItsLogAndHearsItsServersAgain) {
  AddServer(1);
  AddServer(2);
  PutObject("a", {1, 2});
  master_.reset();
  EXPECT_THAT(servers_[1]->Beat(), StatusIs(absl::StatusCode::kUnavailable));
  StartMaster();
  EXPECT_TRUE(Until([&] {
    for (auto& [number, server] : servers_) {
      server->Connect(master_->address());
      if (!server->Beat().ok()) return false;
    }
    return true;
  }));
  EXPECT_EQ(ReplicasOf("a"), 2u);
  EXPECT_EQ(StatusOf(1).chunk_count(), 1u);
}

TEST_F(MasterServerTest, ServesFromItsLogWhileTheShardControllerIsDown) {
  AddServer(1);
  AddServer(2);
  PutObject("a", {1, 2});
  controller_.reset();
  EXPECT_OK(servers_[1]->Beat());
  EXPECT_EQ(ReplicasOf("a"), 2u);
}

TEST_F(MasterServerTest, ASecondProcessIsKeptOutOfTheFolder) {
  EXPECT_THAT(Server::Start(fs_, options_, [](auto&) {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  Options elsewhere = options_;
  elsewhere.folder = "/nowhere";
  EXPECT_THAT(Server::Start(fs_, elsewhere, [](auto&) {}), StatusIs(absl::StatusCode::kNotFound));
  elsewhere.folder = "/shardctl";
  EXPECT_THAT(Server::Start(fs_, elsewhere, [](auto&) {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(Format(fs_, options_), StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(MasterServerTest, AUnaryCallerIsAServerToo) {
  FakeServer& one = AddServer(1);
  one.Disconnect();
  v1::Heartbeat heartbeat = one.MakeHeartbeat();
  EXPECT_TRUE(Until([&] { return one.SendUnary(heartbeat).ok(); }));
  EXPECT_EQ(StatusOf(1).liveness(), v1::LIVENESS_ALIVE);
}

TEST_F(MasterServerTest, AServerThatIsRelayedIsNamedAgedAndPolled) {
  auto& gateway = servers_[7] = std::make_unique<FakeServer>(7, cluster_);
  v1::RegisterChunkServerRequest registration;
  registration.set_server_id(gateway->id());
  registration.set_address("127.0.0.1:7607");
  registration.set_boot_epoch(1);
  registration.set_name("n7");
  registration.set_no_placement(true);
  ASSERT_OK(client_->RegisterChunkServer(registration));
  gateway->Connect(master_->address());
  const auto poll = [&] {
    v1::Heartbeat message = gateway->MakeHeartbeat();
    message.clear_shards();
    message.set_no_beat(true);
    message.set_no_lists(true);
    return gateway->SendUnary(message);
  };
  EXPECT_TRUE(Until([&] { return ReasonOf(poll()) == v1::REASON_NOT_HOLDER; }))
      << "known, once the registry has come, and not heard yet";
  v1::Heartbeat heartbeat = gateway->MakeHeartbeat();
  heartbeat.set_age_ms(599'999);
  EXPECT_OK(gateway->SendUnary(heartbeat));
  EXPECT_OK(poll());
  const v1::ServerStatus server = StatusOf(7);
  EXPECT_EQ(server.name(), "n7");
  EXPECT_TRUE(server.no_placement());
  EXPECT_GE(server.last_heartbeat_ms_ago(), 599'999);
  EXPECT_OK(gateway->SendUnary(gateway->MakeHeartbeat()));
  EXPECT_EQ(StatusOf(7).liveness(), v1::LIVENESS_ALIVE);
}

}  // namespace
}  // namespace ballast::master
