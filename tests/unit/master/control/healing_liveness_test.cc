// SPDX-License-Identifier: Apache-2.0
// What must not hold healing and levelling up for ever.
#include "gmock/gmock.h"
#include "tests/unit/master/control/healing_fixture.h"

namespace ballast::master {
namespace {

using ::testing::SizeIs;

class HealingLivenessTest : public HealingTest {
 protected:
  using HealingTest::HealingTest;

  // Five servers, of which the last is empty; rebalancing begins when an operator says so.
  void StartUneven() {
    StartServers(5);
    MakeSmall();
    Eager();
    for (int i = 0; i < 60; ++i) Store({1, 2, 3});
    sim_.RunFor(absl::Seconds(60));
  }
};

TEST_F(HealingLivenessTest, AChunkOutlivesManyGenerationsOfServers) {
  StartServers(11);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (int dead = 1; dead <= 8; ++dead) {
    Silence(Readable(handle).front());
    sim_.RunFor(absl::Seconds(100));
    ASSERT_THAT(Readable(handle), SizeIs(3)) << dead << " are dead";
  }
  LeadAnew();
  for (uint32_t s = 1; s <= 11; ++s) {
    if (!muted_[s]) Return(s);
  }
  sim_.RunFor(absl::Seconds(60));
  EXPECT_THAT(Readable(handle), SizeIs(3));
}

TEST_F(HealingLivenessTest, ServersThatWereRemovedAreNotWaitedFor) {
  StartServers(10);
  Eager();
  const ChunkHandle handle = Store({1, 5, 6}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (uint32_t s : {1, 2, 4, 7}) Silence(s);
  sim_.RunFor(absl::Seconds(30));
  ASSERT_TRUE(repair_.State().only_last_copies());
  SetRegistry({{1, v1::SERVER_STATE_REMOVED},
               {2, v1::SERVER_STATE_REMOVED},
               {4, v1::SERVER_STATE_REMOVED},
               {7, v1::SERVER_STATE_REMOVED}});
  sim_.RunFor(absl::Seconds(10));
  EXPECT_FALSE(repair_.State().only_last_copies());
  EXPECT_THAT(Readable(handle), SizeIs(3));
}

class NoRoomForReasonsTest : public HealingLivenessTest {
 protected:
  static RepairLimits Limits() {
    RepairLimits limits;
    limits.reasons_max = 0;
    return limits;
  }
  NoRoomForReasonsTest() : HealingLivenessTest(Limits()) {}
};

TEST_F(NoRoomForReasonsTest, ACopyThatFailsIsNotTriedAgainAtOnce) {
  StartServers(4);
  Eager();
  Store({1, 2, 3});
  server(4).refusals[v1::Command::kReplicate] = v1::REASON_COPY_FAILED;
  sim_.RunFor(absl::Seconds(6));
  Silence(3);
  sim_.RunFor(absl::Seconds(45));
  EXPECT_GE(Replicates(), 2u);
  EXPECT_LE(Replicates(), 10u) << "once an interval";
}

TEST_F(HealingLivenessTest, AServerThatIsTakenBackDoesNotHoldUpAnEpisodesEnd) {
  StartUneven();
  sim_.RunFor(absl::Minutes(30));  // many heartbeats
  rebalance_.Start();
  ASSERT_TRUE(
      sim_.RunUntilTrue([&] { return rebalance_.State(0).moves_done() > 0; }, absl::Seconds(10)));
  ASSERT_TRUE(sim_.RunUntilTrue([&] { return copy_desk_.under_way(CopyBudget::kRebalance) == 0; },
                                absl::Seconds(30)));
  sim_.RunFor(absl::Milliseconds(300));
  ASSERT_EQ(rebalance_.State(0).phase(), v1::RebalanceState::PHASE_MOVING) << "it settles";
  SetRegistry({{4, v1::SERVER_STATE_REMOVED}});
  ++server(4).boot_epoch;
  ++server(4).incarnation;
  SetRegistry();
  Return(4);
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(rebalance_.State(0).phase(), v1::RebalanceState::PHASE_IDLE);
}

class NoRepairTest : public HealingLivenessTest {
 protected:
  NoRepairTest() : HealingLivenessTest(NoRepair()) {}
};

TEST_F(NoRepairTest, APlanThatIsOnlyShownIsMadeInOneTurnAtATime) {
  StartServers(3);
  MakeSmall();
  for (auto& server : servers_) server->capacity_bytes = 10'000'000;
  for (int i = 0; i < 1500; ++i) Store({1});
  sim_.RunFor(absl::Seconds(30));
  RebalanceLimits limits;
  limits.visits_max = 1;
  RebalanceLoop slow(*executor_, view_, pictures_, copy_desk_, limits);
  bool made = false;
  slow.Plan(0, [&](const absl::StatusOr<v1::RebalanceState>&) { made = true; });
  for (int i = 0; i < 1000; ++i) slow.Tick("");
  EXPECT_FALSE(made) << "ticks add no turns of their own";
  EXPECT_TRUE(sim_.RunUntilTrue([&] { return made; }, absl::Seconds(1)));
}

TEST_F(HealingLivenessTest, AnEpisodeRestsWhileServersContradictTheMetadata) {
  StartUneven();
  server(4).obeys = server(5).obeys = false;
  rebalance_.Start();
  sim_.RunFor(absl::Seconds(2));
  const uint64_t begun = rebalance_.State(0).moves_under_way();
  ASSERT_LT(begun, rebalance_.State(0).moves_planned());
  const ChunkHandle unaccounted(ShardId(0), 999'999);
  server(2).Put(unaccounted);
  ASSERT_TRUE(
      sim_.RunUntilTrue([&] { return !repair_.WhyNotRebalance().empty(); }, absl::Seconds(1)));
  sim_.RunFor(absl::Seconds(1));
  for (const uint32_t s : {4u, 5u}) {
    server(s).obeys = true;
    server(s).Disconnect();  // what is under way is ordered again
    Return(s);
  }
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(rebalance_.State(0).moves_done(), begun) << "the metadata may be old";
  EXPECT_EQ(rebalance_.State(0).phase(), v1::RebalanceState::PHASE_MOVING);
  EXPECT_THAT(rebalance_.State(0).note(), ::testing::HasSubstr("cannot account for"));
  server(2).Lose(unaccounted);
  sim_.RunFor(absl::Seconds(60));
  EXPECT_GT(rebalance_.State(0).moves_done(), begun);
  EXPECT_EQ(rebalance_.State(0).phase(), v1::RebalanceState::PHASE_IDLE);
  EXPECT_THAT(rebalance_.State(0).note(), ::testing::Not(::testing::HasSubstr("account for")));
}

}  // namespace
}  // namespace ballast::master
