// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/repair_queue.h"

#include <map>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/master/core/fake_catalog.h"
#include "tests/unit/master/core/planner_cluster.h"

namespace ballast::master {
namespace {

ServerIndex S(uint32_t i) { return ServerIndex(i); }

class RepairQueueTest : public ::testing::Test {
 protected:
  RepairQueueTest() {
    for (int i = 0; i < 6; ++i) cluster_.AddServer(1 << 30);
    for (ShardId shard : catalog_.owned_shards()) {
      lenses_[shard].shard = shard;
      lenses_[shard].known.assign(7, true);
    }
    view_ = cluster_.View();
  }
  void Add(ChunkHandle handle, uint32_t wanted, const std::vector<ServerIndex>& on) {
    ChunkRecord& record =
        catalog_.chunks(handle.shard())->Insert(handle.sequence(), {1000, Crc32c{1}, wanted}, on);
    for (ServerIndex server : on) record.SetLiveFlags(server, ChunkRecord::kLive);
  }
  size_t Step(size_t examine_max = 1 << 20) {
    const auto lens = [this](ShardId shard) -> const ShardLens* {
      return unsettled_.contains(shard) ? nullptr : &lenses_[shard];
    };
    return queue_.Step({catalog_, view_, lens}, examine_max);
  }
  std::vector<ChunkHandle> TakeAll(NeedClass first = NeedClass::kOneLeft,
                                   NeedClass last = NeedClass::kSurplus) {
    std::vector<ChunkHandle> taken;
    queue_.Offer(first, last, 1 << 20, 1, [&](ChunkHandle handle, NeedClass) {
      taken.push_back(handle);
      return RepairQueue::Verdict::kTaken;
    });
    return taken;
  }
  static ChunkHandle H(uint32_t shard, uint64_t sequence) {
    return ChunkHandle(ShardId(shard), sequence);
  }

  PlannerCluster cluster_;
  ClusterView view_{{}};
  FakeCatalog catalog_{4};
  std::map<ShardId, ShardLens> lenses_;
  std::set<ShardId> unsettled_;
  RepairQueue queue_;
};

TEST_F(RepairQueueTest, OffersTheMostEndangeredFirstAcrossShards) {
  Add(H(0, 1), 3, {S(1), S(2)});
  Add(H(0, 2), 3, {S(1), S(2), S(3)});
  Add(H(1, 1), 3, {S(4)});
  Add(H(2, 9), 5, {S(1), S(2), S(3)});
  Add(H(3, 1), 1, {S(4), S(5)});
  Step();
  EXPECT_EQ(TakeAll(), (std::vector<ChunkHandle>{H(1, 1), H(0, 1), H(2, 9), H(3, 1)}));
  EXPECT_EQ(queue_.counts().chunks, 5u);
  EXPECT_EQ(queue_.counts().needs, (std::array<uint64_t, kNeedClasses>{1, 1, 1, 0, 0, 1}));
  EXPECT_EQ(queue_.counts().bytes_short, 1000u * (1 + 2 + 2));
  EXPECT_TRUE(TakeAll().empty()) << "taken needs are forgotten";
}

TEST_F(RepairQueueTest, LooksAtABoundedNumberOfChunksAStep) {
  for (uint64_t i = 1; i <= 3000; ++i) Add(H(1, i), 1, {S(1)});
  size_t steps = 0;
  while (queue_.rounds() == 0) {
    EXPECT_LE(Step(100), 100u + ChunkTable::kPageRecords);
    ++steps;
  }
  EXPECT_GE(steps, 9u);
  EXPECT_EQ(queue_.counts().chunks, 3000u);
}

TEST_F(RepairQueueTest, AShardThatIsNotSettledIsPassedOver) {
  Add(H(0, 1), 3, {S(1)});
  Add(H(1, 1), 3, {S(1)});
  unsettled_.insert(ShardId(0));
  Step();
  EXPECT_EQ(TakeAll(), (std::vector<ChunkHandle>{H(1, 1)}));
  EXPECT_EQ(queue_.counts().unsettled_shards, 1u);
  queue_.Note({H(0, 1)});
  Step();
  EXPECT_EQ(TakeAll(), (std::vector<ChunkHandle>{H(1, 1)})) << "noting it changes nothing";
}

TEST_F(RepairQueueTest, NotedChunksAreLookedAtFirst) {
  for (uint64_t i = 1; i <= 2000; ++i) Add(H(1, i), 1, {S(1)});
  Add(H(3, 7), 2, {S(1)});
  queue_.Note({H(3, 7), H(3, 8)});
  Step(2);
  EXPECT_EQ(TakeAll(), (std::vector<ChunkHandle>{H(3, 7)}));
}

TEST_F(RepairQueueTest, ANeedThatIsGoneIsForgottenAtTheNextLook) {
  Add(H(0, 1), 2, {S(1)});
  Step();
  EXPECT_TRUE(queue_.HasNeeds(NeedClass::kOneLeft, NeedClass::kOneLeft));
  catalog_.chunks(ShardId(0))->Find(1)->SetLiveFlags(S(2), ChunkRecord::kLive);
  Step();
  EXPECT_FALSE(queue_.HasNeeds(NeedClass::kOneLeft, NeedClass::kSurplus));
  Add(H(0, 2), 2, {S(1)});
  Step();
  catalog_.chunks(ShardId(0))->Erase(2);
  queue_.Note({H(0, 2)});
  Step();
  EXPECT_TRUE(TakeAll().empty());
}

TEST_F(RepairQueueTest, BusyNeedsStayAndDoNotKeepLaterClassesWaiting) {
  Add(H(0, 1), 2, {S(1)});
  Add(H(0, 2), 2, {S(1)});
  Add(H(0, 3), 3, {S(1), S(2)});
  Step();
  std::vector<ChunkHandle> offered;
  const auto take = [&](ChunkHandle handle, NeedClass need) {
    offered.push_back(handle);
    return need == NeedClass::kOneLeft ? RepairQueue::Verdict::kBusy
                                       : RepairQueue::Verdict::kBlocked;
  };
  queue_.Offer(NeedClass::kOneLeft, NeedClass::kDrain, 100, 1, take);
  EXPECT_EQ(offered, (std::vector<ChunkHandle>{H(0, 1), H(0, 3)}));
  offered.clear();
  queue_.Offer(NeedClass::kOneLeft, NeedClass::kDrain, 100, 10, take);
  EXPECT_EQ(offered, (std::vector<ChunkHandle>{H(0, 2), H(0, 1)})) << "blocked: until next round";
  Step();
  EXPECT_EQ(TakeAll().size(), 3u);
}

TEST_F(RepairQueueTest, BusyNeedsKeepNoOthersOfTheirClassWaiting) {
  for (uint64_t i = 1; i <= 100; ++i) Add(H(0, i), 2, {S(1)});  // of a server that is slow
  Add(H(1, 1), 2, {S(2)});
  Step();
  bool taken = false;
  for (int i = 0; i < 20 && !taken; ++i) {
    queue_.Offer(NeedClass::kOneLeft, NeedClass::kSurplus, 1000, 8, [&](ChunkHandle handle, auto) {
      taken |= handle == H(1, 1);
      return handle == H(1, 1) ? RepairQueue::Verdict::kTaken : RepairQueue::Verdict::kBusy;
    });
  }
  EXPECT_TRUE(taken);
}

TEST_F(RepairQueueTest, NoNeedIsOfferedTwiceAtOnce) {
  for (uint64_t i = 1; i <= 3; ++i) Add(H(0, i), 2, {S(1)});
  Step();
  for (int i = 0; i < 4; ++i) {
    std::vector<ChunkHandle> offered;
    queue_.Offer(NeedClass::kOneLeft, NeedClass::kOneLeft, 100, 2 + i % 2 * 10,
                 [&](ChunkHandle handle, NeedClass) {
                   offered.push_back(handle);
                   return RepairQueue::Verdict::kBusy;
                 });
    EXPECT_EQ(offered.size(), i % 2 == 0 ? 2u : 3u);
    EXPECT_EQ(std::set<ChunkHandle>(offered.begin(), offered.end()).size(), offered.size());
  }
}

TEST_F(RepairQueueTest, SaysWhetherItMakesSenseToGoOn) {
  for (uint64_t i = 1; i <= 3; ++i) Add(H(0, i), 2, {S(1)});
  Step();
  using Verdict = RepairQueue::Verdict;
  const auto offer = [&](size_t offers_max, Verdict verdict) {
    return queue_.Offer(NeedClass::kOneLeft, NeedClass::kDrain, offers_max, 100,
                        [&](ChunkHandle, NeedClass) { return verdict; });
  };
  EXPECT_FALSE(offer(2, Verdict::kBusy)) << "the same ones would be busy again";
  EXPECT_TRUE(offer(2, Verdict::kTaken));
  EXPECT_FALSE(offer(2, Verdict::kTaken)) << "none is left";
}

TEST_F(RepairQueueTest, CountsWhatDrainingServersStillHold) {
  cluster_.servers[0].draining = true;
  cluster_.servers[0].accepts = false;
  view_ = cluster_.View();
  for (uint64_t i = 1; i <= 10; ++i) Add(H(2, i), 2, {S(1), S(2)});
  Add(H(2, 11), 1, {S(1), S(2)});
  Step();
  ASSERT_TRUE(queue_.counts().draining.contains(S(1)));
  EXPECT_EQ(queue_.counts().draining.at(S(1)).chunks, 10u);
  EXPECT_EQ(queue_.counts().draining.at(S(1)).bytes, 10000u);
}

TEST_F(RepairQueueTest, ANewRoundBeginsAtOnceAndEnds) {
  for (uint64_t i = 1; i <= 2000; ++i) Add(H(1, i), 1, {S(1)});
  Step(500);
  queue_.BeginRound();
  EXPECT_TRUE(queue_.fresh_round());
  while (queue_.fresh_round()) Step(500);
  EXPECT_EQ(queue_.counts().chunks, 2000u) << "counted once";
}

TEST_F(RepairQueueTest, NewsThatNeverEndKeepNoRoundFromEnding) {
  for (uint64_t i = 1; i <= 2000; ++i) Add(H(1, i), 1, {S(1)});
  Add(H(3, 1), 2, {S(1)});
  for (int i = 0; i < 20; ++i) {
    queue_.BeginRound();
    Step(500);
  }
  EXPECT_GE(queue_.rounds(), 3u);
  EXPECT_EQ(TakeAll(), (std::vector<ChunkHandle>{H(3, 1)}));
}

TEST_F(RepairQueueTest, NewsOfARoundUnderWayAreFollowedByAnotherWholeOne) {
  for (uint64_t i = 1; i <= 2000; ++i) Add(H(1, i), 1, {S(1)});
  queue_.BeginRound();
  Step(500);
  Add(H(0, 1), 2, {S(1)});  // where it has been already
  queue_.BeginRound();
  while (queue_.fresh_round()) Step(500);
  EXPECT_EQ(queue_.counts().chunks, 2001u);
  EXPECT_EQ(TakeAll(), (std::vector<ChunkHandle>{H(0, 1)}));
}

TEST_F(RepairQueueTest, TheLastPossibleShardIsWalkedToo) {
  FakeCatalog wide(65536);
  wide.chunks(ShardId(65535))
      ->Insert(1, {1000, Crc32c{1}, 2}, {S(1)})
      .SetLiveFlags(S(1), ChunkRecord::kLive);
  ShardLens lens;
  lens.known.assign(7, true);
  const auto lens_of = [&](ShardId) { return &lens; };
  queue_.Step({wide, view_, lens_of}, 10);
  EXPECT_EQ(queue_.rounds(), 1u);
  EXPECT_EQ(TakeAll(), (std::vector<ChunkHandle>{ChunkHandle(ShardId(65535), 1)}));
}

}  // namespace
}  // namespace ballast::master
