// SPDX-License-Identifier: Apache-2.0
// Repair, draining, surplus and rebalancing over heartbeats, in virtual time.
#include <set>

#include "gmock/gmock.h"
#include "tests/unit/master/control/healing_fixture.h"

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST_F(HealingTest, ADeadServersChunksAreCopiedWithinAFifthOfASecond) {
  StartServers(4);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  Silence(3);
  ASSERT_TRUE(sim_.RunUntilTrue([&] { return status(3).liveness() == v1::LIVENESS_DEAD; },
                                absl::Seconds(16)));
  EXPECT_EQ(Replicates(), 0u) << "not before it is dead";
  EXPECT_TRUE(sim_.RunUntilTrue([&] { return Replicates() == 1; }, absl::Milliseconds(200)));
  EXPECT_TRUE(sim_.RunUntilTrue([&] { return server(4).Holds(handle); }, absl::Milliseconds(100)));
  sim_.RunFor(absl::Seconds(1));
  EXPECT_THAT(Readable(handle), UnorderedElementsAre(1, 2, 4));
  EXPECT_EQ(repair_.State().copies_done(), 1u);
  EXPECT_EQ(repair_.State().bytes_copied(), 1000u);
}

TEST_F(HealingTest, ASilentServerIsDeadAfterFifteenSecondsAndAtMostHalfASecondMore) {
  StartServers(4);
  for (int i = 0; i < 30; ++i) {
    sim_.RunFor(absl::Milliseconds(137 * i));  // wherever in a tick and between two heartbeats
    server(3).Beat(kShards);
    const SteadyTime last = sim_.SteadyNow();
    muted_[3] = true;
    ASSERT_TRUE(sim_.RunUntilTrue([&] { return status(3).liveness() == v1::LIVENESS_DEAD; },
                                  absl::Seconds(16)));
    const absl::Duration silence = sim_.SteadyNow() - last;
    EXPECT_GE(silence, absl::Seconds(15));
    EXPECT_LE(silence, absl::Milliseconds(15'500));
    muted_[3] = false;
    server(3).Beat(kShards);
    EXPECT_EQ(status(3).liveness(), v1::LIVENESS_ALIVE);
  }
}

TEST_F(HealingTest, AMasterThatStoodStillForAMinuteCopiesNothing) {
  StartServers(4);
  Eager();
  Store({1, 2, 3});
  sim_.RunFor(absl::Seconds(6));
  loop_.Stop();  // the process does not run
  for (uint32_t s = 1; s <= 4; ++s) muted_[s] = true;
  sim_.RunFor(absl::Seconds(60));
  loop_.Start();
  sim_.RunFor(absl::Seconds(4));
  for (uint32_t s = 1; s <= 4; ++s) muted_[s] = false;
  sim_.RunFor(absl::Seconds(60));
  for (uint32_t s = 1; s <= 4; ++s) EXPECT_EQ(status(s).liveness(), v1::LIVENESS_ALIVE) << s;
  EXPECT_EQ(Replicates() + Deletes(), 0u);
}

TEST_F(HealingTest, RepairDoesNotWaitForTheRateOfRebalancing) {
  settings_.set_rebalance_auto(1);
  settings_.set_rebalance_total_mbps(1);  // a chunk of 1000 bytes takes its lane for 16 ms
  StartServers(5);
  MakeSmall();
  Eager();
  for (int i = 0; i < 60; ++i) Store({1, 2, 3});
  const ChunkHandle handle = Store({1, 2, 4}).handle;
  server(5).obeys = false;  // moves to it never end, and hold their places
  ASSERT_TRUE(sim_.RunUntilTrue([&] { return copy_desk_.under_way(CopyBudget::kRebalance) >= 16; },
                                absl::Seconds(60)));
  Silence(4);
  ASSERT_TRUE(sim_.RunUntilTrue([&] { return status(4).liveness() == v1::LIVENESS_DEAD; },
                                absl::Seconds(17)));
  const auto is_repair = [&](const v1::Command& command) {
    return command.handle() == handle.value() &&
           command.replicate().traffic() == v1::TRAFFIC_CLASS_REPAIR;
  };
  const auto ordered = [&] {
    return std::any_of(servers_.begin(), servers_.end(), [&](const auto& server) {
      return std::any_of(server->commands.begin(), server->commands.end(), is_repair);
    });
  };
  EXPECT_TRUE(sim_.RunUntilTrue(ordered, absl::Milliseconds(200)));
  EXPECT_GE(copy_desk_.under_way(CopyBudget::kRebalance), 16u) << "they still do not end";
}

TEST_F(HealingTest, TheRemainingTimeFollowsTheLimitsAndWhatWasMeasured) {
  settings_.set_rebalance_server_mbps(1);
  StartServers(4);
  MakeSmall();
  Eager();
  for (int i = 0; i < 60; ++i) Store({1, 2, 3});
  sim_.RunFor(absl::Seconds(30));
  std::optional<v1::RebalanceState> plan;
  rebalance_.Plan(0, [&](absl::StatusOr<v1::RebalanceState> made) { plan = *made; });
  ASSERT_TRUE(sim_.RunUntilTrue([&] { return plan.has_value(); }, absl::Seconds(1)));
  EXPECT_EQ(plan->eta_ms(), 40) << "40 chunks of 1000 bytes to one server, 1 MB/s";
  server(4).obeys = false;
  rebalance_.Start();
  sim_.RunFor(absl::Seconds(3));
  EXPECT_EQ(rebalance_.State(0).eta_ms(), 40) << "nothing was measured yet";
  server(4).obeys = true;
  server(4).Disconnect();
  server(4).Connect();  // what is under way is ordered again
  KeepBeating(server(4));
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(rebalance_.State(0).phase(), v1::RebalanceState::PHASE_IDLE);
  EXPECT_EQ(rebalance_.State(0).eta_ms(), 0);
}

TEST_F(HealingTest, ASilentServerThatComesBackInTimeCostsNothing) {
  StartServers(4);
  Eager();
  Store({1, 2, 3});
  sim_.RunFor(absl::Seconds(6));
  Silence(3);
  sim_.RunFor(absl::Seconds(12));
  Return(3);
  sim_.RunFor(absl::Seconds(30));
  EXPECT_EQ(Replicates(), 0u);
}

TEST_F(HealingTest, WhatWasWrittenAMomentAgoIsNotRepaired) {
  StartServers(5);
  Eager();
  const Written written = Begin();
  Seal(written, {1, 2, 3});  // its servers will report it with their next heartbeats
  for (uint32_t s : {1, 2, 3}) server(s).Put(written.handle);
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(Replicates(), 0u);
}

TEST_F(HealingTest, SmallChunksOfADeadServerAreAllHealed) {
  StartServers(5);
  Eager();
  std::vector<ChunkHandle> handles;
  for (int i = 0; i < 200; ++i) handles.push_back(Store({1u + i % 2, 3, 4}).handle);
  sim_.RunFor(absl::Seconds(6));
  Silence(4);
  sim_.RunFor(absl::Seconds(30));
  for (ChunkHandle handle : handles) {
    EXPECT_EQ(Readable(handle).size(), 3u) << handle;
  }
  EXPECT_EQ(repair_.State().chunks_two_left(), 0u);
}

TEST_F(HealingTest, ManySilentServersAreWaitedForButLastCopiesAreSaved) {
  StartServers(10);
  Eager();
  const ChunkHandle last = Store({1, 2, 3}).handle;  // one is left when 1, 2 are gone
  const ChunkHandle two = Store({3, 5, 6}).handle;
  const ChunkHandle safe = Store({1, 5, 6}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (uint32_t s : {1, 2, 4, 7}) Silence(s);
  sim_.RunFor(absl::Seconds(60));
  EXPECT_TRUE(repair_.State().only_last_copies());
  EXPECT_THAT(Readable(safe), UnorderedElementsAre(5, 6));
  EXPECT_THAT(Readable(two), UnorderedElementsAre(3, 5, 6));
  EXPECT_GE(Readable(last).size(), 2u);
  EXPECT_EQ(Replicates(), 1u);
  for (uint32_t s : {1, 2, 4, 7}) Return(s);
  sim_.RunFor(absl::Seconds(20));
  EXPECT_FALSE(repair_.State().only_last_copies());
  EXPECT_EQ(Replicates(), 1u) << "they are back: nothing to copy";
  EXPECT_EQ(Deletes(), 0u);
}

TEST_F(HealingTest, AnOperatorMayReleaseTheBreaker) {
  StartServers(10);
  Eager();
  const ChunkHandle handle = Store({1, 5, 6}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (uint32_t s : {1, 2, 4, 7}) Silence(s);
  sim_.RunFor(absl::Seconds(30));
  EXPECT_EQ(Readable(handle).size(), 2u);
  repair_.ReleaseBreaker();
  sim_.RunFor(absl::Seconds(10));
  EXPECT_EQ(Readable(handle).size(), 3u);
}

TEST_F(HealingTest, BothHoldersOfAChunkCanBeDrained) {
  StartServers(5);
  Eager();
  settings_.set_default_replicas(2);
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  SetRegistry({{1, v1::SERVER_STATE_DRAINING}, {2, v1::SERVER_STATE_DRAINING}});
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(Holders(handle), (std::set<uint32_t>{3, 4, 5}));
  const std::vector<v1::DrainState> drains = repair_.Drains();
  ASSERT_EQ(drains.size(), 2u);
  EXPECT_TRUE(drains[0].done());
  EXPECT_EQ(drains[0].progress_pct(), 100);
}

TEST_F(HealingTest, ADrainThatIsTakenBackMovesNothing) {
  StartServers(4);
  Eager();
  Store({1, 2, 3});
  sim_.RunFor(absl::Seconds(6));
  server(4).obeys = false;
  SetRegistry({{1, v1::SERVER_STATE_DRAINING}});
  SetRegistry();
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(Replicates(), 0u);
}

TEST_F(HealingTest, ADrainWaitsWhileServersContradictTheMetadata) {
  StartServers(4);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  const ChunkHandle unaccounted(ShardId(0), 999'999);
  server(2).Put(unaccounted);
  sim_.RunFor(absl::Seconds(6));
  SetRegistry({{1, v1::SERVER_STATE_DRAINING}});
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(Replicates(), 0u) << "the metadata may be old";
  ASSERT_FALSE(repair_.State().blocked().empty());
  EXPECT_THAT(repair_.State().blocked(0), ::testing::HasSubstr("cannot account for"));
  server(2).Lose(unaccounted);
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(Holders(handle), (std::set<uint32_t>{2, 3, 4}));
}

TEST_F(HealingTest, AReturningServersReplicasAreKeptAndTheSurplusIsTrimmedLaterFromTheFullest) {
  StartServers(4);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  Silence(3);
  sim_.RunFor(absl::Seconds(30));
  ASSERT_EQ(Holders(handle), (std::set<uint32_t>{1, 2, 3, 4}));
  server(2).is_small = true;  // the fullest
  server(2).capacity_bytes = 2000;
  Return(3);
  sim_.RunFor(absl::Seconds(100));
  EXPECT_EQ(Holders(handle).size(), 4u) << "kept for a while";
  sim_.RunFor(absl::Seconds(300));
  EXPECT_EQ(Holders(handle), (std::set<uint32_t>{1, 3, 4}));
}

TEST_F(HealingTest, ADamagedReplicaGoesOnceTheChunkIsWholeAgainAndVerified) {
  StartServers(4);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  server(1).Put(handle, {1000, 7, false}, /*verified=*/false);
  server(4).refusals[v1::Command::kReplicate] = v1::REASON_NO_SPACE;
  server(1).refusals[v1::Command::kVerify] = v1::REASON_OVERLOADED;
  server(3).Put(handle, {1000, 7, true});
  sim_.RunFor(absl::Seconds(30));
  EXPECT_EQ(Holders(handle), (std::set<uint32_t>{1, 2, 3}))
      << "nowhere else to go to, and one of the others may be no better";
  server(4).refusals.clear();
  sim_.RunFor(absl::Seconds(30));
  EXPECT_EQ(Holders(handle), (std::set<uint32_t>{1, 2, 3, 4})) << "1 was not verified yet";
  server(1).Put(handle, {1000, 7, false}, /*verified=*/true);
  sim_.RunFor(absl::Seconds(30));
  EXPECT_EQ(Holders(handle), (std::set<uint32_t>{1, 2, 4}));
  EXPECT_EQ(Deletes(), 1u);
  EXPECT_EQ(repair_.TrimCount(), 0u);
}

TEST_F(HealingTest, ADamagedReplicaMakesRoomForAGoodOneWhereNoOtherServerIsLeft) {
  StartServers(3);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  server(3).Put(handle, {1000, 7, true});
  sim_.RunFor(absl::Seconds(30));
  EXPECT_EQ(Readable(handle).size(), 3u);
  EXPECT_EQ(Deletes(), 1u);
  EXPECT_EQ(Replicates(), 1u);
}

TEST_F(HealingTest, DamagedReplicasAreKeptWhileNothingBetterIsThere) {
  StartServers(3);
  Eager();
  const ChunkHandle lost = Store({1, 2, 3}).handle;
  const ChunkHandle odd = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (uint32_t s : {1, 2, 3}) server(s).Put(lost, {1000, 7, true});
  server(3).Put(odd, {1000, 8, false});  // whole, says its server: not what the log knows
  sim_.RunFor(absl::Minutes(10));
  EXPECT_EQ(Holders(lost), (std::set<uint32_t>{1, 2, 3}));
  EXPECT_EQ(Holders(odd), (std::set<uint32_t>{1, 2, 3}));
  EXPECT_EQ(Deletes(), 0u);
}

TEST_F(HealingTest, AnUnrepairableChunkDoesNotKeepOthersWaiting) {
  StartServers(4);
  Eager();
  const ChunkHandle stuck = Store({1, 2, 3}).handle;
  const ChunkHandle other = Store({2, 3, 4}).handle;
  server(4).refusals[v1::Command::kReplicate] = v1::REASON_NO_SPACE;
  sim_.RunFor(absl::Seconds(6));
  Silence(3);  // `stuck` could only go to 4, which refuses; `other` goes to 1
  sim_.RunFor(absl::Seconds(40));
  EXPECT_EQ(Readable(stuck).size(), 2u);
  EXPECT_EQ(Readable(other).size(), 3u);
  EXPECT_FALSE(repair_.State().blocked().empty());
}

TEST_F(HealingTest, ACopyThatFailsIsTriedAgainLaterNotAtOnce) {
  StartServers(4);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  server(4).refusals[v1::Command::kReplicate] = v1::REASON_COPY_FAILED;
  sim_.RunFor(absl::Seconds(6));
  Silence(3);
  sim_.RunFor(absl::Seconds(45));
  EXPECT_GE(Replicates(), 2u);
  EXPECT_LE(Replicates(), 10u) << "once an interval";
  EXPECT_NE(repair_.BlockedReason(handle), "");
  server(4).refusals.clear();
  sim_.RunFor(absl::Seconds(15));
  EXPECT_EQ(Readable(handle).size(), 3u);
  EXPECT_EQ(repair_.BlockedReason(handle), "");
}

TEST_F(HealingTest, ANewLeaderThatNeverHeardManyServersWaitsForThem) {
  StartServers(10);
  Eager();
  const ChunkHandle handle = Store({1, 5, 6}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (uint32_t s : {1, 2, 4, 7}) Silence(s);
  LeadAnew();
  for (uint32_t s : {3, 5, 6, 8, 9, 10}) server(s).Connect();
  sim_.RunFor(absl::Seconds(60));
  EXPECT_TRUE(repair_.State().only_last_copies());
  EXPECT_EQ(Readable(handle).size(), 2u);
}

TEST_F(HealingTest, ANewLeaderRepairsNothingBeforeEveryServerWasHeardOrGivenUp) {
  StartServers(4);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  Silence(3);
  LeadAnew();
  for (uint32_t s : {1, 2, 4}) server(s).Connect();
  sim_.RunFor(absl::Seconds(14));
  EXPECT_EQ(Replicates(), 0u) << "3 may still be there";
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(Readable(handle).size(), 3u);
}

TEST_F(HealingTest, AnEmptyServerIsFilledByItselfWhenRebalancingIsOn) {
  settings_.set_rebalance_auto(1);
  settings_.set_rebalance_server_mbps(0);
  StartServers(4);
  MakeSmall();
  Eager();
  std::vector<ChunkHandle> handles;
  for (int i = 0; i < 60; ++i) handles.push_back(Store({1, 2, 3}).handle);
  sim_.RunFor(absl::Seconds(120));
  for (uint32_t s = 1; s <= 4; ++s) {
    EXPECT_NEAR(status(s).utilization_pct(), 45, 6) << s;
  }
  for (ChunkHandle handle : handles) {
    EXPECT_EQ(Holders(handle).size(), 3u) << handle;
    EXPECT_EQ(Readable(handle).size(), 3u) << handle;
  }
  const v1::RebalanceState state = rebalance_.State(10);
  EXPECT_EQ(state.phase(), v1::RebalanceState::PHASE_IDLE);
  EXPECT_EQ(state.moves_done(), 40u) << "40 to reach the band, no more";
  EXPECT_EQ(state.bytes_moved(), 40'000u);
}

TEST_F(HealingTest, AnOperatorSeesAPlanAndStartsIt) {
  StartServers(4);
  MakeSmall();
  Eager();
  for (int i = 0; i < 60; ++i) Store({1, 2, 3});
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(Replicates(), 0u) << "rebalance_auto is off";
  std::optional<v1::RebalanceState> plan;
  rebalance_.Plan(5, [&](absl::StatusOr<v1::RebalanceState> made) { plan = *made; });
  ASSERT_TRUE(sim_.RunUntilTrue([&] { return plan.has_value(); }, absl::Seconds(1)));
  EXPECT_EQ(plan->moves_planned(), 40u);
  EXPECT_EQ(plan->moves_size(), 5);
  EXPECT_NEAR(plan->spread_points(), 60, 0.1);
  EXPECT_LE(plan->planned_spread_points(), 10.1);
  EXPECT_EQ(Replicates(), 0u);
  rebalance_.Start();
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(rebalance_.State(0).moves_done(), 40u);
  rebalance_.Start();
  sim_.RunFor(absl::Seconds(10));
  EXPECT_NE(rebalance_.State(0).note(), "");
}

TEST_F(HealingTest, AStoppedEpisodeBeginsNothingMore) {
  StartServers(4);
  MakeSmall();
  Eager();
  for (int i = 0; i < 60; ++i) Store({1, 2, 3});
  sim_.RunFor(absl::Seconds(20));
  server(4).obeys = false;
  rebalance_.Start();
  sim_.RunFor(absl::Seconds(2));
  EXPECT_EQ(rebalance_.State(0).phase(), v1::RebalanceState::PHASE_MOVING);
  const size_t begun = Replicates();
  EXPECT_GT(begun, 0u);
  rebalance_.Stop();
  server(4).Disconnect();  // what is under way fails
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(rebalance_.State(0).phase(), v1::RebalanceState::PHASE_IDLE);
  EXPECT_EQ(Replicates(), begun);
}

}  // namespace
}  // namespace ballast::master
