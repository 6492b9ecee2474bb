// SPDX-License-Identifier: Apache-2.0
// Intake, view, maintenance and configuration poller together, in virtual time.
#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "tests/unit/master/control/heartbeat_world.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using HeartbeatIntakeTest = HeartbeatWorld;
using MaintenanceLoopTest = HeartbeatWorld;
using LiveViewTest = HeartbeatWorld;
using ConfigPollerTest = HeartbeatWorld;

absl::Status Refusal(HeartbeatIntake& intake, const v1::Heartbeat& heartbeat) {
  absl::Status status = absl::UnknownError("no answer");
  intake.OnUnaryHeartbeat(std::make_shared<v1::Heartbeat>(heartbeat),
                          [&](absl::StatusOr<v1::HeartbeatReply> r) { status = r.status(); });
  return status;
}

// --- intake
// ---------------------------------------------------------------------------------------

TEST_F(HeartbeatIntakeTest, RefusesWhomItMust) {
  FakeChunkServer stranger(intake_, 9);
  const v1::Heartbeat good = stranger.MakeHeartbeat(0);
  EXPECT_THAT(Refusal(intake_, good), HasReason(v1::REASON_NOT_READY)) << "no registry yet";
  StartServers(1);
  EXPECT_THAT(Refusal(intake_, good), HasReason(v1::REASON_UNKNOWN_SERVER));
  v1::Heartbeat bad = server(1).MakeHeartbeat(0);
  bad.set_cluster_id("another");
  EXPECT_THAT(Refusal(intake_, bad), HasReason(v1::REASON_WRONG_CLUSTER));
  view_.EndTerm();
  intake_.SetLeaderHint("127.0.0.1:7501");
  const absl::Status status = Refusal(intake_, good);
  EXPECT_THAT(status, HasReason(v1::REASON_NOT_LEADER));
  EXPECT_EQ(DetailOf(status)->leader_address(), "127.0.0.1:7501");
}

TEST_F(HeartbeatIntakeTest, MalformedHeartbeatsAreInvalid) {
  StartServers(1);
  const auto refused = [&](auto&& change) {
    v1::Heartbeat heartbeat = server(1).MakeHeartbeat(0);
    change(heartbeat);
    return Refusal(intake_, heartbeat);
  };
  const auto invalid = HasReason(v1::REASON_INVALID_ARGUMENT);
  EXPECT_THAT(refused([](auto& h) { h.set_boot_epoch(0); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.set_incarnation(0); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.set_health(v1::SERVER_HEALTH_UNSPECIFIED); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.set_health(static_cast<v1::ServerHealth>(99)); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.set_health_text(std::string(257, 'x')); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.set_disk_utilization_pct(std::nan("")); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.set_disk_utilization_pct(101); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.set_address("nonsense"); }), invalid);
}

TEST_F(HeartbeatIntakeTest, ARemovedServerIsDroppedAndRefused) {
  StartServers(2);
  SetRegistry({{2, v1::SERVER_STATE_REMOVED}});
  ASSERT_TRUE(server(2).closed().has_value());
  EXPECT_THAT(*server(2).closed(), HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(Refusal(intake_, server(2).MakeHeartbeat(0)), HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_EQ(status(2).liveness(), v1::LIVENESS_DEAD);
  SetRegistry();
  server(2).Connect();
  server(2).Beat(kShards);
  EXPECT_EQ(status(2).liveness(), v1::LIVENESS_ALIVE);
}

TEST_F(HeartbeatIntakeTest, ANewerStreamReplacesTheOldWithoutStoppingTheServer) {
  StartServers(1);
  FakeChunkServer again(intake_, 1);  // the same process after a reconnect
  again.Connect();
  again.Beat(kShards);
  ASSERT_TRUE(server(1).closed().has_value());
  EXPECT_EQ(server(1).closed()->code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(again.closed().has_value());
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_ALIVE);
}

TEST_F(HeartbeatIntakeTest, ACopyOfALiveServerIsRefusedAndARestartTakesOver) {
  StartServers(1);
  FakeChunkServer copy(intake_, 1);
  copy.incarnation = 2000;
  copy.Connect();
  copy.Beat(kShards);
  ASSERT_TRUE(copy.closed().has_value());
  EXPECT_THAT(*copy.closed(), HasReason(v1::REASON_DUPLICATE_SERVER));
  EXPECT_FALSE(server(1).closed().has_value());
  server(1).Disconnect();
  copy.boot_epoch = 2;
  copy.Connect();
  copy.Beat(kShards);
  EXPECT_FALSE(copy.closed().has_value());
  server(1).Connect();
  server(1).Beat(kShards);
  EXPECT_THAT(*server(1).closed(), HasReason(v1::REASON_STALE_BOOT));
}

TEST_F(HeartbeatIntakeTest, OneStreamSpeaksForOneServer) {
  StartServers(2);
  v1::Heartbeat foreign = server(2).MakeHeartbeat(0);
  intake_.OnStreamHeartbeat(1, std::make_shared<v1::Heartbeat>(foreign));
  EXPECT_EQ(server(1).closed()->code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(HeartbeatIntakeTest, OnlyAStreamsFirstMessageMustSayWhoSpeaks) {
  StartServers(1);
  const auto later = [&] {
    v1::Heartbeat heartbeat = server(1).MakeHeartbeat(0);
    heartbeat.clear_cluster_id();
    heartbeat.clear_server_id();
    heartbeat.clear_boot_epoch();
    heartbeat.clear_incarnation();
    heartbeat.clear_zone();
    heartbeat.clear_address();
    return heartbeat;
  };
  const std::string address = status(1).address();
  const uint64_t before = view_.leader()->liveness.heartbeat_count(ServerIndex(1));
  intake_.OnStreamHeartbeat(server(1).stream(), std::make_shared<v1::Heartbeat>(later()));
  EXPECT_FALSE(server(1).closed().has_value());
  EXPECT_EQ(view_.leader()->liveness.heartbeat_count(ServerIndex(1)), before + 1);
  EXPECT_EQ(status(1).address(), address);
  server(1).Disconnect();
  const auto refused = [&](auto&& change) {
    v1::Heartbeat first = server(1).MakeHeartbeat(0);
    change(first);
    server(1).Connect();
    intake_.OnStreamHeartbeat(server(1).stream(), std::make_shared<v1::Heartbeat>(first));
    return server(1).closed().value_or(absl::OkStatus());
  };
  const auto invalid = HasReason(v1::REASON_INVALID_ARGUMENT);
  EXPECT_THAT(refused([](auto& h) { h.clear_server_id(); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.clear_boot_epoch(); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.clear_incarnation(); }), invalid);
  EXPECT_THAT(refused([](auto& h) { h.clear_cluster_id(); }), HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_OK(refused([](auto&) {}));
}

TEST_F(HeartbeatIntakeTest, ASumThatDoesNotFitLeadsToTheListThatDiffers) {
  StartServers(1);
  server(1).Put(ChunkHandle(ShardId(2), 5));
  server(1).Beat(kShards);
  v1::Heartbeat idle = server(1).MakeHeartbeat(0);
  idle.set_lists_digest(12345);
  idle.set_lists_replica_count(1);
  intake_.OnStreamHeartbeat(server(1).stream(), std::make_shared<v1::Heartbeat>(idle));
  EXPECT_TRUE(server(1).last_answer.tell_digests());
  v1::Heartbeat told = server(1).MakeHeartbeat(0);
  told.add_shards()->set_shard(2);
  told.mutable_shards(0)->set_digest(777);
  told.mutable_shards(0)->set_replica_count(1);
  intake_.OnStreamHeartbeat(server(1).stream(), std::make_shared<v1::Heartbeat>(told));
  ASSERT_EQ(server(1).last_answer.resync_shards_size(), 1);
  EXPECT_EQ(server(1).last_answer.resync_shards(0), 2u);
  v1::Heartbeat buckets = server(1).MakeHeartbeat(0);
  v1::ShardReport& counted = *buckets.add_shards();
  counted.set_shard(2);
  counted.set_all_buckets(true);
  counted.add_buckets()->set_bucket(3);
  counted.mutable_buckets(0)->set_replica_count(1);
  intake_.OnStreamHeartbeat(server(1).stream(), std::make_shared<v1::Heartbeat>(buckets));
  ASSERT_EQ(server(1).last_answer.resend_buckets_size(), 1);
  EXPECT_EQ(server(1).last_answer.resend_buckets(0).shard(), 2u);
  EXPECT_EQ(server(1).last_answer.resend_buckets(0).bucket(), 3u);
}

TEST_F(HeartbeatIntakeTest, HostileBucketsEndTheStream) {
  StartServers(1);
  v1::Heartbeat bad = server(1).MakeHeartbeat(0);
  v1::ShardReport& report = *bad.add_shards();
  report.set_shard(2);
  report.set_all_buckets(true);
  report.add_buckets()->set_bucket(~uint64_t{0});
  intake_.OnStreamHeartbeat(server(1).stream(), std::make_shared<v1::Heartbeat>(bad));
  ASSERT_TRUE(server(1).closed().has_value());
  EXPECT_EQ(server(1).closed()->code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(HeartbeatIntakeTest, LongListsAreTakenInSlicesAndCountAtOnce) {
  StartServers(1);
  for (uint64_t s = 1; s <= 20000; ++s) server(1).Put(ChunkHandle(ShardId(2), s));
  server(1).Disconnect();
  server(1).Connect();
  const int answers = server(1).answers;
  server(1).Beat(kShards);
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_ALIVE);
  EXPECT_EQ(server(1).answers, answers) << "answered only when all is taken in";
  EXPECT_FALSE(view_.leader()->replicas.IsComplete(ServerIndex(1), ShardId(2)));
  sim_.RunFor(absl::Milliseconds(1));
  EXPECT_EQ(server(1).answers, answers + 1);
  EXPECT_TRUE(view_.leader()->replicas.IsComplete(ServerIndex(1), ShardId(2)));
  EXPECT_EQ(status(1).chunk_count(), 20000u);
}

TEST_F(HeartbeatIntakeTest, AServerThatIsLoadingIsAliveButListsNothing) {
  servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 1));
  server(1).health = v1::SERVER_HEALTH_LOADING;
  server(1).Put(ChunkHandle(ShardId(0), 5));
  SetRegistry();
  Configure(1);
  server(1).Connect();
  KeepBeating(server(1));
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(status(1).liveness(), v1::LIVENESS_ALIVE);
  EXPECT_TRUE(status(1).loading());
  EXPECT_EQ(server(1).resends, 0);
  EXPECT_EQ(status(1).chunk_count(), 0u);
  server(1).health = v1::SERVER_HEALTH_OK;
  sim_.RunFor(absl::Seconds(30));
  EXPECT_GE(server(1).resends, 1);
  EXPECT_EQ(status(1).chunk_count(), 1u);
}

TEST_F(HeartbeatIntakeTest, AnOvertakenUnaryHeartbeatDoesNotTurnTheListsBack) {
  StartServers(1);
  server(1).Disconnect();
  server(1).BeatUnary(kShards);
  const v1::Heartbeat late = server(1).MakeHeartbeat(kShards);
  const Written written = Store({1});
  server(1).BeatUnary(kShards);
  EXPECT_THAT(Readable(written.handle), ElementsAre(1));
  EXPECT_OK(Refusal(intake_, late));
  EXPECT_EQ(status(1).chunk_count(), 1u);
}

// --- liveness and reading
// -------------------------------------------------------------------------

TEST_F(LiveViewTest, ReadersGetLiveReplicasAndNoDeadOnes) {
  StartServers(3);
  const Written written = Store({1, 2, 3});
  EXPECT_EQ(Readable(written.handle).size(), 3u) << "readable before the servers reported it";
  sim_.RunFor(absl::Seconds(6));
  const auto all = Readable(written.handle);
  EXPECT_THAT(all, UnorderedElementsAre(1, 2, 3));
  const uint32_t first = all[0];
  server(first).Disconnect();
  EXPECT_EQ(status(first).liveness(), v1::LIVENESS_SUSPECT);
  EXPECT_EQ(Readable(written.handle).back(), first) << "suspects are read last";
  sim_.RunFor(absl::Seconds(16));
  EXPECT_EQ(status(first).liveness(), v1::LIVENESS_DEAD);
  EXPECT_EQ(status(first).chunk_count(), 0u);
  EXPECT_EQ(Readable(written.handle).size(), 2u);
  EXPECT_EQ(Logged(written.handle).size(), 3u) << "its replica is kept in the record";
  server(first).Connect();
  server(first).Beat(kShards);
  EXPECT_EQ(Readable(written.handle), all);
}

TEST_F(LiveViewTest, DeathComesBetweenFifteenAndFifteenAndAQuarterSeconds) {
  StartServers(1);
  sim_.RunUntilTrue([&] { return server(1).answers >= 3; }, absl::Seconds(30));
  muted_[1] = true;
  const SteadyTime last = sim_.SteadyNow();
  EXPECT_FALSE(sim_.RunUntilTrue([&] { return status(1).liveness() == v1::LIVENESS_DEAD; },
                                 absl::Seconds(14.999)));
  EXPECT_TRUE(sim_.RunUntilTrue([&] { return status(1).liveness() == v1::LIVENESS_DEAD; },
                                absl::Seconds(1)));
  EXPECT_LE(sim_.SteadyNow() - last, absl::Seconds(15.26));
}

TEST_F(LiveViewTest, PlacementSkipsWhoMustNotGetReplicas) {
  StartServers(6);
  server(2).health = v1::SERVER_HEALTH_DEGRADED;
  server(3).health = v1::SERVER_HEALTH_LOADING;
  sim_.RunFor(absl::Seconds(6));
  SetRegistry({{4, v1::SERVER_STATE_DRAINING}});
  server(5).Disconnect();
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto chains, view_.PlaceChunks({1, 3, 1, 1 << 20, {}}));
    std::vector<uint32_t> servers;
    for (const auto& l : chains[0]) servers.push_back(l.server_index());
    EXPECT_THAT(servers, UnorderedElementsAre(1, 6));
    EXPECT_EQ(chains[0][0].address(), absl::StrCat("127.0.0.1:", 7600 + servers[0]));
  }
  EXPECT_THAT(view_.PlaceChunks({1, 5, 4, 1 << 20, {}}), HasReason(v1::REASON_TOO_FEW_SERVERS));
  EXPECT_THAT(view_.PlaceChunks({1, 3, 3, 1 << 20, {}}), HasReason(v1::REASON_NOT_READY))
      << "the third one is loading";
}

TEST_F(LiveViewTest, PromisesCountUntilTheReplicaShows) {
  StartServers(1);
  const uint64_t free = view_.leader()->Candidates({})[0].free_bytes;
  ASSERT_OK(view_.PlaceChunks({2, 1, 1, 1000, {}}));
  EXPECT_EQ(view_.leader()->Candidates({})[0].free_bytes, free - 2000);
  server(1).Put(ChunkHandle(ShardId(0), 1));
  sim_.RunFor(absl::Seconds(6));
  EXPECT_EQ(view_.leader()->Candidates({})[0].free_bytes, free - 1000);
  sim_.RunFor(absl::Seconds(15));
  EXPECT_EQ(view_.leader()->Candidates({})[0].free_bytes, free);
}

TEST_F(LiveViewTest, ANewLeaderServesLoggedLocationsBeforeAnyoneReported) {
  StartServers(2);
  const Written written = Store({1, 2});
  LeadAnew();
  EXPECT_THAT(*server(1).closed(), HasReason(v1::REASON_NOT_LEADER));
  EXPECT_EQ(Readable(written.handle).size(), 2u);
  EXPECT_THAT(view_.PlaceChunks({1, 2, 2, 1000, {}}), HasReason(v1::REASON_NOT_READY));
}

// --- maintenance
// ----------------------------------------------------------------------------------

TEST_F(MaintenanceLoopTest, GarbageIsDeletedWithAFenceAndOnlyGarbage) {
  StartServers(2);
  const Written kept = Store({1, 2});
  const Written gone = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  EXPECT_THAT(server(1).commands, IsEmpty());
  Abort(gone);
  sim_.RunFor(absl::Seconds(1));
  for (uint32_t s : {1u, 2u}) {
    ASSERT_EQ(server(s).commands.size(), 1u);
    const v1::Command& command = server(s).commands[0];
    EXPECT_EQ(command.handle(), gone.handle.value());
    EXPECT_EQ(command.delete_replica().length_bytes(), 1000u);
    EXPECT_EQ(command.delete_replica().cause(), v1::Command::Delete::CAUSE_GARBAGE);
    EXPECT_EQ(command.fence().config_version(), 1u);
    EXPECT_EQ(command.fence().term(), 1u);
    EXPECT_NE(command.command_id(), 0u);
  }
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(server(1).commands.size(), 1u) << "once done it is not ordered again";
  EXPECT_TRUE(server(1).Holds(kept.handle));
}

TEST_F(MaintenanceLoopTest, ALostOrderIsGivenAgainButNotAtEveryTick) {
  StartServers(1);
  server(1).obeys = false;
  const Written gone = Store({1});
  sim_.RunFor(absl::Seconds(6));
  Abort(gone);
  sim_.RunFor(absl::Seconds(9));
  EXPECT_EQ(server(1).commands.size(), 1u);
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(server(1).commands.size(), 3u);
  EXPECT_NE(server(1).commands[0].command_id(), server(1).commands[1].command_id());
}

TEST_F(MaintenanceLoopTest, WhatTheLogCannotAccountForIsQuarantined) {
  StartServers(1);
  const ChunkHandle foreign(ShardId(1), 77);
  server(1).Put(foreign);
  sim_.RunFor(absl::Minutes(5));
  EXPECT_THAT(server(1).commands, IsEmpty());
  EXPECT_TRUE(server(1).Holds(foreign));
  EXPECT_EQ(status(1).quarantined_count(), 1u);
}

TEST_F(MaintenanceLoopTest, ANewLeaderDeletesNothingUntilEveryServerReportedOrIsDead) {
  StartServers(2);
  server(1).obeys = false;
  const Written gone = Store({1});
  Abort(gone);
  sim_.RunFor(absl::Seconds(6));
  LeadAnew();
  server(1).commands.clear();
  server(1).Connect();
  KeepBeating(server(1));
  sim_.RunFor(absl::Seconds(14.9));
  EXPECT_THAT(server(1).commands, IsEmpty()) << "server 2 has not been heard of";
  sim_.RunFor(absl::Seconds(1));
  EXPECT_EQ(server(1).commands.size(), 1u);
  EXPECT_EQ(server(1).commands[0].fence().term(), 2u);
}

TEST_F(MaintenanceLoopTest, UnaryCallersGetTheirCommandsInTheReply) {
  StartServers(1);
  server(1).Disconnect();
  const Written gone = Begin();
  server(1).Put(gone.handle);
  server(1).BeatUnary(kShards);
  Abort(gone);
  sim_.RunFor(absl::Seconds(1));
  EXPECT_THAT(server(1).commands, IsEmpty());
  server(1).BeatUnary(kShards);
  EXPECT_EQ(server(1).commands.size(), 1u);
  EXPECT_FALSE(server(1).Holds(gone.handle));
  sim_.RunFor(absl::Seconds(1));
  server(1).BeatUnary(kShards);
  EXPECT_EQ(server(1).commands.size(), 1u);
}

TEST_F(MaintenanceLoopTest, ACorruptReplicaLeavesTheRecordAndIsKept) {
  StartServers(2);
  const Written written = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  server(1).Put(written.handle, {1000, 7, true});
  sim_.RunFor(absl::Seconds(6));
  EXPECT_THAT(Logged(written.handle), ElementsAre(2));
  EXPECT_THAT(Readable(written.handle), ElementsAre(2));
  server(2).Put(written.handle, {1000, 7, true});
  sim_.RunFor(absl::Minutes(2));
  EXPECT_THAT(Readable(written.handle), IsEmpty());
  EXPECT_EQ(view_.ChunkHealth().chunks_without_live_replica, 1u);
  EXPECT_TRUE(server(1).Holds(written.handle));
  EXPECT_TRUE(server(2).Holds(written.handle));
  server(2).Put(written.handle);  // read again, it was sound
  sim_.RunFor(absl::Seconds(6));
  EXPECT_THAT(Logged(written.handle), ElementsAre(2));
}

TEST_F(MaintenanceLoopTest, AVanishedReplicaLeavesTheRecordAndComesBackWithItsServer) {
  StartServers(2);
  const Written written = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  server(1).Lose(written.handle);
  sim_.RunFor(absl::Seconds(30));
  EXPECT_THAT(Logged(written.handle), ElementsAre(2));
  EXPECT_EQ(view_.ChunkHealth().chunks_below_wanted, 1u);
  server(1).Put(written.handle);
  sim_.RunFor(absl::Seconds(6));
  EXPECT_THAT(Logged(written.handle), ElementsAre(1, 2));
}

TEST_F(MaintenanceLoopTest, AReadersComplaintOnlyTriggersVerification) {
  StartServers(2);
  const Written written = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  for (int i = 0; i < 5; ++i) {
    view_.ReportBadReplica(written.handle, "server-2",
                           v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM);
  }
  view_.ReportBadReplica(written.handle, "nobody", v1::ReportBadReplicaRequest::PROBLEM_MISSING);
  view_.ReportBadReplica(ChunkHandle(99), "server-2", v1::ReportBadReplicaRequest::PROBLEM_MISSING);
  sim_.RunFor(absl::Seconds(1));
  ASSERT_EQ(server(2).commands.size(), 1u);
  EXPECT_TRUE(server(2).commands[0].has_verify());
  EXPECT_THAT(server(1).commands, IsEmpty());
  EXPECT_EQ(Readable(written.handle).size(), 2u);
}

TEST_F(MaintenanceLoopTest, AMasterThatStoodStillForAMinuteKillsNobody) {
  StartServers(3);
  const Written written = Store({1, 2, 3});
  sim_.RunFor(absl::Seconds(6));
  loop_.Stop();  // the process does not run
  for (uint32_t s : {1u, 2u, 3u}) muted_[s] = true;
  sim_.RunFor(absl::Seconds(60));
  loop_.Start();
  sim_.RunFor(absl::Seconds(10));
  for (uint32_t s : {1u, 2u, 3u}) EXPECT_NE(status(s).liveness(), v1::LIVENESS_DEAD);
  EXPECT_EQ(Readable(written.handle).size(), 3u);
}

// --- configurations
// -------------------------------------------------------------------------------

TEST_F(ConfigPollerTest, AppliesConfigurationsInOrderThroughLostRepliesAndTerms) {
  log_.LoseNextReply(/*applied=*/false);
  Configure(1);
  EXPECT_EQ(machine_.config_version(), ConfigVersion(0));
  Configure(2);
  sim_.RunFor(absl::Seconds(2));
  EXPECT_EQ(machine_.config_version(), ConfigVersion(2));
  log_.LoseNextReply(/*applied=*/true);
  Configure(3);
  EXPECT_EQ(machine_.config_version(), ConfigVersion(3));
  view_.EndTerm();
  Configure(4);
  sim_.RunFor(absl::Seconds(2));
  EXPECT_EQ(machine_.config_version(), ConfigVersion(3)) << "a follower proposes nothing";
  LeadAnew();
  poller_.OnLeading();
  sim_.RunFor(absl::Seconds(1));
  EXPECT_EQ(machine_.config_version(), ConfigVersion(4));
}

}  // namespace
}  // namespace ballast::master
