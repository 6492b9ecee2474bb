// SPDX-License-Identifier: Apache-2.0
// Servers that somebody else speaks for: never placed on, heartbeats of some age, polls for
// commands.
#include "gmock/gmock.h"
#include "tests/unit/master/control/heartbeat_world.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::testing::HasSubstr;

using NoPlacementTest = HeartbeatWorld;

TEST_F(NoPlacementTest, NothingIsPlacedOnAServerRegisteredSoAndRefusalsSayWhy) {
  servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 1));
  servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 2));
  server(2).no_placement = true;
  SetRegistry();
  Configure(1);
  for (uint32_t s : {1u, 2u}) {
    server(s).Connect();
    server(s).Beat(kShards);
  }
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto chains, view_.PlaceChunks({1, 2, 1, 1000, {}}));
    ASSERT_EQ(chains[0].size(), 1u);
    EXPECT_EQ(chains[0][0].server_index(), 1u);
  }
  const absl::Status refused = view_.PlaceChunks({1, 2, 2, 1000, {}}).status();
  EXPECT_THAT(refused, HasReason(v1::REASON_TOO_FEW_SERVERS));
  EXPECT_THAT(
      refused.message(),
      HasSubstr("2 registered, 2 alive, 0 suspect, 0 dead, 1 registered without placement"));
  EXPECT_EQ(status(2).name(), "name-2");
  EXPECT_TRUE(status(2).no_placement());
  EXPECT_FALSE(status(1).no_placement());
}

TEST_F(NoPlacementTest, AServerThatMayNotBeUsedIsNotWaitedFor) {
  StartServers(1);
  servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 2));  // never heard
  SetRegistry();
  EXPECT_THAT(view_.PlaceChunks({1, 2, 2, 1000, {}}), HasReason(v1::REASON_NOT_READY));
  server(2).no_placement = true;
  SetRegistry();
  EXPECT_THAT(view_.PlaceChunks({1, 2, 2, 1000, {}}), HasReason(v1::REASON_TOO_FEW_SERVERS));
}

// One server that keeps no stream: a gateway relays what it says.
class RelayedHeartbeatTest : public HeartbeatWorld {
 protected:
  RelayedHeartbeatTest() {
    servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 1));
    SetRegistry();
    Configure(1);
  }
  v1::Heartbeat Full() {
    server(1).BeginFullList();
    return server(1).MakeHeartbeat(kShards);
  }
  // Nothing but the identity, and what a poll for commands says.
  v1::Heartbeat Poll() {
    v1::Heartbeat poll;
    const v1::Heartbeat whole = server(1).MakeHeartbeat(0);
    poll.set_cluster_id(whole.cluster_id());
    poll.set_server_id(whole.server_id());
    poll.set_boot_epoch(whole.boot_epoch());
    poll.set_incarnation(whole.incarnation());
    poll.set_sequence(whole.sequence());
    *poll.mutable_results() = whole.results();
    poll.set_no_beat(true);
    poll.set_no_lists(true);
    return poll;
  }
  absl::StatusOr<v1::HeartbeatReply> Send(const v1::Heartbeat& heartbeat) {
    absl::StatusOr<v1::HeartbeatReply> reply = absl::UnknownError("no answer");
    intake_.OnUnaryHeartbeat(std::make_shared<v1::Heartbeat>(heartbeat),
                             [&](absl::StatusOr<v1::HeartbeatReply> r) { reply = std::move(r); });
    return reply;
  }
  v1::Heartbeat Aged(v1::Heartbeat heartbeat, uint32_t age_ms) {
    heartbeat.set_age_ms(age_ms);
    return heartbeat;
  }
};

TEST_F(RelayedHeartbeatTest, CountsFromWhenTheServerSpoke) {
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_DEAD);
  ASSERT_OK(Send(Aged(Full(), 16'000)));
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_DEAD) << "spoken longer ago than the window";
  EXPECT_EQ(status(1).last_heartbeat_ms_ago(), 16'000);
  ASSERT_OK(Send(Aged(Full(), 5'000)));
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_ALIVE);
  EXPECT_EQ(status(1).last_heartbeat_ms_ago(), 5'000);
  sim_.RunFor(absl::Seconds(9.9));
  EXPECT_NE(status(1).liveness(), v1::LIVENESS_DEAD);
  sim_.RunFor(absl::Seconds(0.5));
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_DEAD);
}

TEST_F(RelayedHeartbeatTest, ListsOfAnOldHeartbeatAreTakenAllTheSame) {
  const Written written = Store({1});
  ASSERT_OK(Send(Full()));
  server(1).Lose(written.handle);
  ASSERT_OK(Send(Aged(Full(), 60'000)));
  EXPECT_EQ(status(1).chunk_count(), 0u);
  EXPECT_EQ(status(1).last_heartbeat_ms_ago(), 0) << "its time is before the latest: no change";
}

TEST_F(RelayedHeartbeatTest, WithoutABeatListsAndResultsAreTakenAndNothingElse) {
  v1::Heartbeat first = Full();
  first.set_used_bytes(77);
  ASSERT_OK(Send(first));
  sim_.RunFor(absl::Seconds(8));
  ASSERT_EQ(status(1).liveness(), v1::LIVENESS_SUSPECT);
  Store({1});
  v1::Heartbeat lists = Full();
  lists.set_no_beat(true);
  lists.set_used_bytes(99);
  lists.set_health(v1::SERVER_HEALTH_UNSPECIFIED);
  ASSERT_OK(Send(lists));
  EXPECT_EQ(status(1).chunk_count(), 1u);
  EXPECT_EQ(status(1).used_bytes(), 77u);
  EXPECT_EQ(status(1).health(), "ok");
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_SUSPECT);
  EXPECT_EQ(status(1).last_heartbeat_ms_ago(), 8'000);
}

TEST_F(RelayedHeartbeatTest, WithoutABeatTheSenderMustHoldTheServer) {
  EXPECT_THAT(Send(Poll()), HasReason(v1::REASON_NOT_HOLDER)) << "nobody has been heard";
  ASSERT_OK(Send(Full()));
  ASSERT_OK(Send(Poll()));
  FakeChunkServer other(intake_, 1);
  for (const auto& [epoch, incarnation] : {std::pair(2u, 1000u), std::pair(1u, 1001u)}) {
    other.boot_epoch = epoch;
    other.incarnation = incarnation;
    v1::Heartbeat poll = other.MakeHeartbeat(0);
    poll.set_no_beat(true);
    EXPECT_THAT(Send(poll), HasReason(v1::REASON_NOT_HOLDER));
  }
}

TEST_F(RelayedHeartbeatTest, APollGetsCommandsAndGivesResults) {
  const Written gone = Store({1});
  ASSERT_OK(Send(Full()));
  Abort(gone);
  sim_.RunFor(absl::Seconds(1));
  ASSERT_OK_AND_ASSIGN(const v1::HeartbeatReply reply, Send(Poll()));
  ASSERT_EQ(reply.commands_size(), 1);
  EXPECT_EQ(reply.commands(0).handle(), gone.handle.value());
  EXPECT_EQ(status(1).chunk_count(), 1u) << "a poll says nothing of chunks";
  ASSERT_OK_AND_ASSIGN(const v1::HeartbeatReply second, Send(Poll()));
  EXPECT_EQ(second.commands_size(), 0);
  // Refused: derived anew, but not before two intervals are over.
  v1::Heartbeat poll = Poll();
  v1::CommandResult& result = *poll.add_results();
  result.set_command_id(reply.commands(0).command_id());
  result.set_handle(reply.commands(0).handle());
  result.set_code(10);
  result.set_reason(v1::REASON_STALE_FENCE);
  ASSERT_OK(Send(poll));
  sim_.RunFor(absl::Seconds(1));
  ASSERT_OK_AND_ASSIGN(const v1::HeartbeatReply third, Send(Poll()));
  EXPECT_EQ(third.commands_size(), 0);
  sim_.RunFor(absl::Seconds(10));
  ASSERT_OK(Send(Full()));
  sim_.RunFor(absl::Seconds(1));
  ASSERT_OK_AND_ASSIGN(const v1::HeartbeatReply fourth, Send(Poll()));
  EXPECT_EQ(fourth.commands_size(), 1);
}

TEST_F(RelayedHeartbeatTest, WithoutListsABeatLeavesListsAsTheyAre) {
  Store({1});
  ASSERT_OK(Send(Full()));
  for (int i = 0; i < 10; ++i) {
    sim_.RunFor(absl::Seconds(5));
    v1::Heartbeat beat = server(1).MakeHeartbeat(0);
    beat.set_no_lists(true);
    ASSERT_OK(Send(beat));
  }
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_ALIVE);
  EXPECT_EQ(status(1).chunk_count(), 1u);
}

TEST_F(RelayedHeartbeatTest, ALocationIsDroppedOnlyForListsThatLackIt) {
  ASSERT_OK(Send(Full()));
  const Written written = Begin();
  Seal(written, {1});  // written, but not in a list yet
  for (int i = 0; i < 10; ++i) {
    sim_.RunFor(absl::Seconds(5));
    v1::Heartbeat beat = server(1).MakeHeartbeat(0);
    beat.set_no_lists(true);
    ASSERT_OK(Send(beat));
  }
  EXPECT_EQ(Logged(written.handle), std::vector<uint32_t>{1});
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK(Send(Full()));
    sim_.RunFor(absl::Seconds(5));
  }
  EXPECT_TRUE(Logged(written.handle).empty());
}

TEST_F(RelayedHeartbeatTest, APollDoesNotOvertakeLists) {
  ASSERT_OK(Send(Full()));
  Store({1});
  const v1::Heartbeat lists = Full();
  ASSERT_OK(Send(Poll()));  // made after the lists, comes before them
  ASSERT_OK(Send(lists));
  EXPECT_EQ(status(1).chunk_count(), 1u);
}

TEST_F(RelayedHeartbeatTest, MalformedRelaysAreInvalid) {
  const auto invalid = HasReason(v1::REASON_INVALID_ARGUMENT);
  EXPECT_OK(Send(Aged(Full(), 600'000)));
  EXPECT_THAT(Send(Aged(Full(), 600'001)), invalid);
  v1::Heartbeat both = Full();
  both.set_no_lists(true);
  EXPECT_THAT(Send(both), invalid);
  server(1).Connect();
  v1::Heartbeat streamed = server(1).MakeHeartbeat(0);
  streamed.set_no_lists(true);
  intake_.OnStreamHeartbeat(1, std::make_shared<v1::Heartbeat>(streamed));
  ASSERT_TRUE(server(1).closed().has_value());
  EXPECT_THAT(*server(1).closed(), invalid);
}

}  // namespace
}  // namespace ballast::master
