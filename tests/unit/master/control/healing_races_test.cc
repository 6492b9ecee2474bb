// SPDX-License-Identifier: Apache-2.0
// Moves that meet deaths, other leaders, drains and each other, at every step, in virtual time.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/unit/master/control/healing_fixture.h"

namespace ballast::master {
namespace {

using ::testing::SizeIs;

// A move takes some 60 ms here: what is at every other millisecond happens between any two steps.
constexpr int kStepsMs = 90;

class HealingRacesTest : public HealingTest {
 protected:
  void Move(ChunkHandle handle, uint32_t from, uint32_t to) {
    copies_.Move(handle, absl::StrCat("server-", from), absl::StrCat("server-", to),
                 [this](const absl::StatusOr<CopyOutcome>&) { ++ended_; });
  }
  size_t Trims() { return machine_.FindShard(ShardId(0))->trims().size(); }
  // Steps until then, looking after each 5 ms that there are never fewer replicas than wanted.
  void Watch(ChunkHandle handle, absl::Duration span) {
    for (absl::Duration at; at < span; at += absl::Milliseconds(5)) {
      sim_.RunFor(absl::Milliseconds(5));
      ASSERT_THAT(Holders(handle), SizeIs(::testing::Ge(3)));
    }
  }

  int ended_ = 0;
};

TEST_F(HealingRacesTest, ASourceOrTargetThatDiesAtAnyStepOfAMoveCostsNoReplica) {
  StartServers(6);
  Eager();
  int moves = 0;
  for (const uint32_t victim : {1u, 4u}) {
    for (int step = 0; step < kStepsMs; step += 6) {
      SCOPED_TRACE(absl::StrCat("server ", victim, " after ", step, " ms"));
      const ChunkHandle handle = Store({1, 2, 3}).handle;
      sim_.RunFor(absl::Seconds(6));
      Move(handle, 1, 4);
      ++moves;
      sim_.RunFor(absl::Milliseconds(step));
      Silence(victim);
      Watch(handle, absl::Seconds(20));
      EXPECT_THAT(Readable(handle), SizeIs(::testing::Ge(3)));
      Return(victim);
      Watch(handle, absl::Seconds(20));
      EXPECT_THAT(Readable(handle), SizeIs(::testing::Ge(3)));
      EXPECT_EQ(Trims(), 0u);
      EXPECT_EQ(ended_, moves) << "every move ends";
    }
  }
}

TEST_F(HealingRacesTest, AMasterThatIsRestartedAtAnyStepOfAMoveFinishesOrForgetsIt) {
  StartServers(5);
  Eager();
  for (int step = 0; step < kStepsMs; step += 2) {
    SCOPED_TRACE(absl::StrCat("after ", step, " ms"));
    const ChunkHandle handle = Store({1, 2, 3}).handle;
    sim_.RunFor(absl::Seconds(6));
    Move(handle, 1, 4);
    sim_.RunFor(absl::Milliseconds(step));
    LeadAnew();
    for (const auto& server : servers_) {
      server->Connect();
      KeepBeating(*server);
    }
    Watch(handle, absl::Seconds(1));
    EXPECT_EQ(Trims(), 0u);
    EXPECT_THAT(Readable(handle), SizeIs(::testing::Ge(3)));
  }
}

TEST_F(HealingRacesTest, AChunkThatIsDeletedAtAnyStepOfItsMoveLeavesNothing) {
  StartServers(4);
  Eager();
  for (int step = 0; step < kStepsMs; step += 2) {
    SCOPED_TRACE(absl::StrCat("after ", step, " ms"));
    const Written written = Store({1, 2, 3});
    sim_.RunFor(absl::Seconds(6));
    Move(written.handle, 1, 4);
    sim_.RunFor(absl::Milliseconds(step));
    Abort(written);
    sim_.RunFor(absl::Seconds(30));
    EXPECT_THAT(Holders(written.handle), SizeIs(0));
    EXPECT_EQ(Trims(), 0u);
  }
}

TEST_F(HealingRacesTest,
       ADrainOfSourceOrTargetThatBeginsAtAnyStepOfAMoveEndsWithTheWantedReplicas) {
  StartServers(6);
  Eager();
  for (const uint32_t drained : {1u, 4u}) {
    for (int step = 0; step < kStepsMs; step += 6) {
      SCOPED_TRACE(absl::StrCat("server ", drained, " after ", step, " ms"));
      const ChunkHandle handle = Store({1, 2, 3}).handle;
      sim_.RunFor(absl::Seconds(6));
      Move(handle, 1, 4);
      sim_.RunFor(absl::Milliseconds(step));
      SetRegistry({{drained, v1::SERVER_STATE_DRAINING}});
      Watch(handle, absl::Seconds(20));
      EXPECT_THAT(Holders(handle), SizeIs(3));
      EXPECT_FALSE(server(drained).Holds(handle));
      EXPECT_EQ(Trims(), 0u);
      SetRegistry();
    }
  }
}

TEST_F(HealingRacesTest, TwoOperatorsWhoMoveAChunkOppositeWaysCostNoReplica) {
  StartServers(5);
  Eager();
  for (int step = 0; step < kStepsMs; step += 3) {
    SCOPED_TRACE(absl::StrCat("after ", step, " ms"));
    const ChunkHandle handle = Store({1, 2, 3}).handle;
    sim_.RunFor(absl::Seconds(6));
    Move(handle, 1, 4);
    sim_.RunFor(absl::Milliseconds(step));
    Move(handle, 4, 1);
    Move(handle, 1, 5);
    Watch(handle, absl::Seconds(20));
    EXPECT_THAT(Holders(handle), SizeIs(3));
    EXPECT_THAT(Readable(handle), SizeIs(3));
    EXPECT_EQ(Trims(), 0u);
  }
}

TEST_F(HealingRacesTest, DrainAndUndrainAtAnyMomentCostNoReplica) {
  StartServers(5);
  Eager();
  for (int step = 0; step < 2 * kStepsMs; step += 6) {
    SCOPED_TRACE(absl::StrCat("after ", step, " ms"));
    const ChunkHandle handle = Store({1, 2, 3}).handle;
    sim_.RunFor(absl::Seconds(6));
    SetRegistry({{1, v1::SERVER_STATE_DRAINING}});
    sim_.RunFor(absl::Milliseconds(step));
    SetRegistry({{2, v1::SERVER_STATE_DRAINING}});  // another operator's idea
    Watch(handle, absl::Seconds(10));
    SetRegistry();
    Watch(handle, absl::Seconds(10));
    EXPECT_THAT(Readable(handle), SizeIs(3));
    EXPECT_EQ(Trims(), 0u);
  }
}

TEST_F(HealingRacesTest, TheTrimOfARemovedServerEnds) {
  StartServers(4);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  server(1).refusals[v1::Command::kDeleteReplica] = v1::REASON_OVERLOADED;
  Move(handle, 1, 4);
  sim_.RunFor(absl::Seconds(1));
  ASSERT_EQ(Trims(), 1u);
  Silence(1);
  sim_.RunFor(absl::Seconds(60));
  EXPECT_EQ(Trims(), 1u) << "it may come back with its replica";
  SetRegistry({{1, v1::SERVER_STATE_REMOVED}});
  sim_.RunFor(absl::Seconds(1));
  EXPECT_EQ(Trims(), 0u);
  EXPECT_THAT(Logged(handle), ::testing::ElementsAre(2, 3, 4));
}

TEST_F(HealingRacesTest, PatiencesFollowTheHeartbeatIntervalWhileACopyWaits) {
  StartServers(4);
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  settings_.set_heartbeat_interval_ms(30'000);
  Move(handle, 1, 4);
  sim_.RunFor(absl::Milliseconds(1));
  server(4).Lose(handle);  // it says that it is done, and does not report the replica
  server(4).Beat(kShards);
  SetRegistry();
  sim_.RunFor(absl::Seconds(50));
  EXPECT_EQ(ended_, 0) << "two intervals are 60 s now";
  sim_.RunFor(absl::Seconds(20));
  EXPECT_EQ(ended_, 1);
}

}  // namespace
}  // namespace ballast::master
