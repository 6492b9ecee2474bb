// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/repair_planner.h"

#include "common/base/byte_units.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/planner_cluster.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;

constexpr uint32_t kChunk = 64 << 20;
constexpr ServerIndex kNone(0);
ServerIndex S(uint32_t i) { return ServerIndex(i); }

class RepairPlannerTest : public ::testing::Test {
 protected:
  RepairPlannerTest() {
    for (int i = 0; i < 5; ++i) cluster_.AddServer(GiB(100), absl::StrCat("z", i % 3));
  }
  ServerView& Server(uint32_t i) { return cluster_.servers[i - 1]; }
  ChunkPicture Picture(const std::set<ServerIndex>& on, uint32_t wanted) {
    PlannerCluster::Chunk& chunk = cluster_.AddChunk(kChunk, wanted, on);
    view_ = cluster_.View();
    load_.assign(view_.size(), {});
    return cluster_.Picture(view_, chunk);
  }
  absl::StatusOr<PlannedCopy> Copy(const ChunkPicture& picture) {
    return PlanCopy(view_, load_, {}, picture, rng_);
  }

  PlannerCluster cluster_;
  ClusterView view_{{}};
  std::vector<CopyLoad> load_;
  Rng rng_{1};
};

TEST_F(RepairPlannerTest, NeedsFollowFromWhatCounts) {
  EXPECT_EQ(Assess(Picture({S(1), S(2), S(3)}, 3)).need, ChunkNeed::kNone);
  Server(1).live = false;
  const Assessment two = Assess(Picture({S(1), S(2), S(3)}, 3));
  EXPECT_EQ(two.need, ChunkNeed::kCopy);
  EXPECT_EQ(two.urgency, 2);
  Server(2).live = false;
  EXPECT_EQ(Assess(Picture({S(1), S(2), S(3)}, 3)).urgency, 1);
  Server(3).live = false;
  EXPECT_EQ(Assess(Picture({S(1), S(2), S(3)}, 3)).need, ChunkNeed::kLost);
  EXPECT_EQ(Assess(Picture({S(4), S(5)}, 1)).need, ChunkNeed::kTrim);
  Server(4).draining = true;
  EXPECT_EQ(Assess(Picture({S(4), S(5)}, 2)).need, ChunkNeed::kDrain);
  EXPECT_EQ(Assess(Picture({S(4), S(5)}, 1)).need, ChunkNeed::kNone) << "one stays, one is wanted";
  EXPECT_EQ(Assess(Picture({S(4), S(5)}, 3)).need, ChunkNeed::kCopy);
}

TEST_F(RepairPlannerTest, ADamagedReplicaIsANeedOnlyBesideEnoughOthers) {
  ChunkPicture picture = Picture({S(1), S(2), S(3)}, 2);
  ReplicaView& damaged = picture.replicas.back();
  damaged.counts = damaged.verified = false;
  damaged.damaged = true;
  EXPECT_EQ(Assess(picture).need, ChunkNeed::kDamaged);
  picture.wanted_replicas = 3;
  EXPECT_EQ(Assess(picture).need, ChunkNeed::kCopy);
  picture.wanted_replicas = 1;
  EXPECT_EQ(Assess(picture).need, ChunkNeed::kTrim);
  for (ReplicaView& replica : picture.replicas) replica.counts = replica.verified = false;
  EXPECT_EQ(Assess(picture).need, ChunkNeed::kLost) << "the last one is kept, damaged or not";
}

TEST_F(RepairPlannerTest, WhatWasJustWrittenIsAwaitedNotRepaired) {
  ChunkPicture picture = Picture({S(1), S(2), S(3)}, 3);
  for (ReplicaView& replica : picture.replicas) {
    replica.expected = replica.counts;
    replica.counts = replica.verified = false;
  }
  EXPECT_EQ(Assess(picture).need, ChunkNeed::kNone);
  picture.wanted_replicas = 4;
  EXPECT_EQ(Assess(picture).need, ChunkNeed::kNone) << "no source yet";
}

TEST_F(RepairPlannerTest, TheTargetIsInANewZoneAndWithoutTheChunk) {
  Server(3).live = Server(3).accepts = false;  // z2; 1 and 4 are in z0, 2 and 5 in z1
  const ChunkPicture picture = Picture({S(1), S(3)}, 2);
  for (int i = 0; i < 50; ++i) {
    ASSERT_OK_AND_ASSIGN(const PlannedCopy copy, Copy(picture));
    EXPECT_TRUE(copy.target == S(2) || copy.target == S(5)) << copy.target;
    EXPECT_EQ(copy.sources.size(), 1u);
    EXPECT_EQ(copy.sources[0], S(1));
    EXPECT_EQ(copy.trim_from, kNone);
  }
}

TEST_F(RepairPlannerTest, AServerThatHoldsItInAnyStandingIsNoTarget) {
  ChunkPicture picture = Picture({S(1), S(2), S(3), S(4)}, 5);
  for (ReplicaView& replica : picture.replicas) {
    if (replica.server == S(4)) replica.counts = replica.verified = false;  // bad or being trimmed
  }
  ASSERT_OK_AND_ASSIGN(const PlannedCopy copy, Copy(picture));
  EXPECT_EQ(copy.target, S(5));
  EXPECT_EQ(copy.sources.size(), 3u);
}

TEST_F(RepairPlannerTest, VerifiedAndIdleSourcesComeFirst) {
  ChunkPicture picture = Picture({S(1), S(2), S(3)}, 4);
  picture.replicas[0].verified = false;
  load_[1].outgoing = 3;
  ASSERT_OK_AND_ASSIGN(const PlannedCopy copy, Copy(picture));
  EXPECT_EQ(copy.sources[0], S(3));
  EXPECT_EQ(copy.sources[1], S(2));
  EXPECT_EQ(copy.sources[2], S(1));
}

TEST_F(RepairPlannerTest, RefusalsSayWhetherToWaitToAddServersOrSpace) {
  const ChunkPicture everywhere = Picture({S(1), S(2), S(3), S(4), S(5)}, 5);
  EXPECT_THAT(Copy(everywhere), HasReason(v1::REASON_TOO_FEW_SERVERS));
  const ChunkPicture picture = Picture({S(1)}, 2);
  for (size_t i = 1; i < 5; ++i) load_[i].incoming = 16;
  EXPECT_THAT(Copy(picture), HasReason(v1::REASON_OVERLOADED));
  load_.assign(5, {});
  load_[0].outgoing = 16;
  EXPECT_THAT(Copy(picture), HasReason(v1::REASON_OVERLOADED));
  for (uint32_t i = 2; i <= 5; ++i) Server(i).used_bytes = Server(i).capacity_bytes - 1;
  view_ = cluster_.View();
  load_.assign(5, {});
  EXPECT_THAT(Copy(picture), HasReason(v1::REASON_NO_SPACE));
}

TEST_F(RepairPlannerTest, ADrainTrimsTheDrainingReplicaAfterwards) {
  Server(2).draining = true;
  Server(2).accepts = false;
  const ChunkPicture picture = Picture({S(1), S(2)}, 2);
  ASSERT_OK_AND_ASSIGN(const PlannedCopy copy, Copy(picture));
  EXPECT_EQ(copy.trim_from, S(2));
  EXPECT_NE(copy.target, S(2));
}

TEST_F(RepairPlannerTest, EvenBothHoldersMayBeDrained) {
  Server(1).draining = Server(2).draining = true;
  Server(1).accepts = Server(2).accepts = false;
  ChunkPicture picture = Picture({S(1), S(2)}, 2);
  ASSERT_OK_AND_ASSIGN(const PlannedCopy first, Copy(picture));
  EXPECT_EQ(first.trim_from, S(1));
  PlannerCluster::Chunk& chunk = cluster_.chunks.back();
  cluster_.Move(chunk, first.trim_from, first.target);
  picture = cluster_.Picture(view_, chunk);
  ASSERT_OK_AND_ASSIGN(const PlannedCopy second, Copy(picture));
  EXPECT_EQ(second.trim_from, S(2));
  cluster_.Move(chunk, second.trim_from, second.target);
  EXPECT_EQ(Assess(cluster_.Picture(view_, chunk)).need, ChunkNeed::kNone);
}

TEST_F(RepairPlannerTest, SurplusGoesFromTheFullestServerThatSharesAZone) {
  Server(3).used_bytes = GiB(99);  // alone in z2
  Server(4).used_bytes = GiB(50);  // shares z0 with 1
  const ChunkPicture picture = Picture({S(1), S(3), S(4)}, 2);
  EXPECT_EQ(ChooseSurplus(view_, picture), S(4));
  const ChunkPicture apart = Picture({S(1), S(2), S(3)}, 2);
  EXPECT_EQ(ChooseSurplus(view_, apart), S(3)) << "no zone has two: the fullest";
}

TEST_F(RepairPlannerTest, TargetsAreDrawnByFreeSpace) {
  for (uint32_t i = 2; i <= 5; ++i) Server(i).zone = "z0";
  Server(2).used_bytes = GiB(90);  // 10 free, the others 100
  const ChunkPicture picture = Picture({S(1)}, 2);
  int to_full = 0;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_OK_AND_ASSIGN(const PlannedCopy copy, Copy(picture));
    to_full += copy.target == S(2);
  }
  EXPECT_NEAR(to_full, 3000 * 10 / 310, 40);
}

}  // namespace
}  // namespace ballast::master
