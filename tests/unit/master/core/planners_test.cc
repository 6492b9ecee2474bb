// SPDX-License-Identifier: Apache-2.0
// The planners that compare reports with the log: garbage and locations; and the readers' order.
#include <algorithm>
#include <map>
#include <set>

#include "gtest/gtest.h"
#include "services/master/core/garbage_planner.h"
#include "services/master/core/location_planner.h"
#include "services/master/core/read_order.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/fake_catalog.h"

namespace ballast::master {
namespace {

SteadyTime At(double seconds) { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }
constexpr ServerIndex kA(1);
constexpr ServerIndex kB(2);
constexpr ShardId kShard(0);
ChunkHandle Handle(uint64_t sequence) { return ChunkHandle(kShard, sequence); }

class PlannersTest : public ::testing::Test {
 protected:
  // `server` reports exactly these replicas of shard 0, sound.
  void Report(ServerIndex server, const std::vector<uint64_t>& sequences,
              const std::set<uint64_t>& corrupt = {}) {
    v1::ShardReport report;
    ReplicaDigest digest;
    report.set_full_begin(true);
    report.set_full_end(true);
    for (uint64_t s : sequences) {
      auto* r = report.add_replicas();
      r->set_handle(Handle(s).value());
      r->set_length_bytes(1000);
      r->set_crc32c(7);
      r->set_corrupt(corrupt.count(s) > 0);
      digest.Add(Handle(s), {1000, 7, corrupt.count(s) > 0});
    }
    report.set_digest(digest.value());
    report.set_replica_count(sequences.size());
    LiveReplicas::Cursor cursor;
    int64_t work = LiveReplicas::kNoBound;
    const auto result = replicas_.Ingest(server, report, cursor, work, At(now_));
    ASSERT_OK(result);
    locations_.Note(result->odd);
    ++heartbeats_[server];
    states_.try_emplace(server, LivenessState::kAlive);
  }

  std::vector<uint64_t> Garbage(size_t examine_max = 1000) {
    std::vector<uint64_t> found;
    garbage_.Step(replicas_, catalog_,
                  {leads_, [&](ServerIndex s) { return states_[s] == LivenessState::kAlive; },
                   [&](ShardId) { return settled_; }},
                  examine_max, [&](const GarbageReplica& g) {
                    EXPECT_EQ(g.length_bytes, 1000u);
                    found.push_back(g.handle.sequence());
                  });
    return found;
  }

  std::vector<LocationChange> Locations(size_t examine_max = 1000, size_t changes_max = 100) {
    return locations_.Step(
        replicas_, catalog_,
        {[&](ServerIndex s) { return states_[s]; }, [&](ServerIndex s) { return heartbeats_[s]; },
         At(now_), absl::Seconds(10)},
        examine_max, changes_max);
  }

  FakeCatalog catalog_{1};
  LiveReplicas replicas_{catalog_};
  GarbagePlanner garbage_;
  LocationPlanner locations_;
  std::map<ServerIndex, LivenessState> states_;
  std::map<ServerIndex, uint64_t> heartbeats_;
  bool leads_ = true;
  bool settled_ = true;
  double now_ = 1;
};

using GarbagePlannerTest = PlannersTest;
using LocationPlannerTest = PlannersTest;

TEST_F(GarbagePlannerTest, OnlyAllocatedAndUnreferencedHandlesAreGarbage) {
  catalog_.allocated_mark = 100;
  catalog_.AddChunk(Handle(1), {1});
  catalog_.drafted.insert(Handle(2));
  Report(kA, {1, 2, 3, 101});
  EXPECT_EQ(Garbage(), std::vector<uint64_t>{3});
  EXPECT_EQ(garbage_.QuarantinedCount(kA), 1u);
}

TEST_F(GarbagePlannerTest, AMasterWithEmptyOrOldMetadataDeletesNothing) {
  catalog_.allocated_mark = 0;
  Report(kA, {1, 2, 3});
  EXPECT_TRUE(Garbage().empty());
  EXPECT_EQ(garbage_.QuarantinedCount(kA), 3u);
  // Restored from a backup: the mark was raised, what lies below it stays quarantined.
  catalog_.allocated_mark = catalog_.quarantined_below = uint64_t{1} << 32;
  EXPECT_TRUE(Garbage().empty());
  EXPECT_EQ(garbage_.QuarantinedCount(kA), 3u);
}

TEST_F(GarbagePlannerTest, EveryGateHoldsItBack) {
  Report(kA, {3});
  leads_ = false;
  EXPECT_TRUE(Garbage().empty());
  leads_ = true;
  settled_ = false;
  EXPECT_TRUE(Garbage().empty());
  settled_ = true;
  for (LivenessState state :
       {LivenessState::kUnknown, LivenessState::kSuspect, LivenessState::kDead}) {
    states_[kA] = state;
    EXPECT_TRUE(Garbage().empty()) << LivenessName(state);
  }
  states_[kA] = LivenessState::kAlive;
  replicas_.OnStreamBegan(kA, {1, 1}, At(2));
  EXPECT_TRUE(Garbage().empty()) << "its list on the new stream is to come";
  Report(kA, {3});
  EXPECT_EQ(Garbage(), std::vector<uint64_t>{3});
}

TEST_F(GarbagePlannerTest, IsLevelTriggeredAndBoundedPerStep) {
  std::vector<uint64_t> all;
  for (uint64_t s = 1; s <= 10; ++s) all.push_back(s);
  Report(kA, all);
  std::vector<uint64_t> seen;
  for (int step = 0; step < 4; ++step) {
    const auto some = Garbage(3);
    EXPECT_LE(some.size(), 3u);
    seen.insert(seen.end(), some.begin(), some.end());
  }
  EXPECT_EQ(seen, all);
  EXPECT_EQ(Garbage(100), all) << "still reported, so found again";
}

TEST_F(GarbagePlannerTest, AChunkThatWasRemovedIsFoundWithoutANewReport) {
  ChunkRecord& record = catalog_.AddChunk(Handle(5), {1});
  Report(kA, {5});
  EXPECT_TRUE(Garbage().empty());
  replicas_.OnChunkRemoved(Handle(5), record);
  catalog_.chunks(kShard)->Erase(5);
  EXPECT_EQ(Garbage(), std::vector<uint64_t>{5});
}

TEST_F(GarbagePlannerTest, ACorruptReplicaOfALivingChunkIsKept) {
  catalog_.AddChunk(Handle(1), {1});
  Report(kA, {1}, /*corrupt=*/{1});
  EXPECT_TRUE(Garbage().empty());
}

TEST_F(LocationPlannerTest, ReportedButNotLoggedIsAdded) {
  catalog_.AddChunk(Handle(1), {1});
  Report(kA, {1});
  Report(kB, {1});
  const auto changes = Locations();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].handle, Handle(1));
  EXPECT_EQ(changes[0].add, ServerList{kB});
  EXPECT_TRUE(changes[0].drop.empty());
}

TEST_F(LocationPlannerTest, CorruptIsDropped) {
  catalog_.AddChunk(Handle(1), {1});
  Report(kA, {1}, {1});
  const auto changes = Locations();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].drop, ServerList{kA});
}

TEST_F(LocationPlannerTest, AMissingReplicaIsDroppedOnlyAfterPatienceAndTwoHeartbeats) {
  catalog_.AddChunk(Handle(1), {1});
  Report(kA, {});
  EXPECT_TRUE(Locations().empty()) << "it may have been written a moment ago";
  now_ = 12;
  EXPECT_TRUE(Locations().empty()) << "no heartbeat since";
  heartbeats_[kA] += 2;
  const auto changes = Locations();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].drop, ServerList{kA});
}

TEST_F(LocationPlannerTest, AReportInTimeClearsTheAbsence) {
  catalog_.AddChunk(Handle(1), {1});
  Report(kA, {});
  EXPECT_TRUE(Locations().empty());
  now_ = 5;
  Report(kA, {1});
  EXPECT_TRUE(Locations().empty());
  now_ = 12;
  Report(kA, {});
  EXPECT_TRUE(Locations().empty()) << "the patience begins anew";
}

TEST_F(LocationPlannerTest, SilenceDropsNothing) {
  catalog_.AddChunk(Handle(1), {1, 2});
  Report(kA, {});
  for (LivenessState state :
       {LivenessState::kUnknown, LivenessState::kSuspect, LivenessState::kDead}) {
    states_[kA] = states_[kB] = state;
    now_ += 100;
    heartbeats_[kA] += 10;
    EXPECT_TRUE(Locations().empty()) << LivenessName(state);
  }
}

TEST_F(LocationPlannerTest, AtMostFiveAreLogged) {
  catalog_.AddChunk(Handle(1), {11, 12, 13, 14});
  for (uint32_t s = 11; s <= 17; ++s) Report(ServerIndex(s), {1});
  const auto changes = Locations();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].add.size(), 1u);
}

// Servers that die one after another leave locations, and flags, in the chunk's record for ever.
TEST_F(LocationPlannerTest, DeadServersMakeRoomForThoseThatLive) {
  for (const bool reported : {false, true}) {
    SCOPED_TRACE(reported);
    const uint64_t s = reported ? 1 : 2;
    ChunkRecord& record = catalog_.AddChunk(Handle(s), {11, 12, 13, 14, 15});
    for (uint32_t i = 11; i <= 15; ++i) {
      if (reported) Report(ServerIndex(i), {s});
      states_[ServerIndex(i)] = LivenessState::kDead;
    }
    for (uint32_t i = 16; i <= 18; ++i) Report(ServerIndex(i), {s});
    for (int step = 0; step < 10; ++step) {
      for (const LocationChange& change : Locations()) {
        catalog_.chunks(kShard)->ChangeLogged(s, change.add, change.drop);
        replicas_.OnChunkAdded(change.handle, record);
      }
    }
    for (uint32_t i = 16; i <= 18; ++i) {
      EXPECT_EQ(record.FlagsOf(ServerIndex(i)), ChunkRecord::kLogged | ChunkRecord::kLive) << i;
    }
    EXPECT_LT(record.CountWith(0), ChunkRecord::kSlots) << "there is a slot for another copy";
    EXPECT_EQ(record.LoggedServers().size(), 5u) << "as much as there is room for is remembered";
    EXPECT_TRUE(Locations().empty());
    catalog_.chunks(kShard)->Erase(s);
    states_.clear();
    replicas_.OnShardReplaced(kShard);
  }
}

TEST_F(LocationPlannerTest, WhatADeadServerHoldsIsRememberedThoughItsSlotIsGivenUp) {
  ChunkRecord& record = catalog_.AddChunk(Handle(1), {11, 12, 13, 14, 15});
  for (uint32_t i = 11; i <= 17; ++i) Report(ServerIndex(i), {1});
  states_[ServerIndex(16)] = LivenessState::kDead;
  Report(ServerIndex(18), {1});
  EXPECT_EQ(record.FlagsOf(ServerIndex(18)), 0);
  (void)Locations();
  EXPECT_EQ(record.FlagsOf(ServerIndex(18)), ChunkRecord::kLive);
  EXPECT_EQ(record.FlagsOf(ServerIndex(16)), 0);
  EXPECT_TRUE(replicas_.HeldFacts(ServerIndex(16), Handle(1)).has_value());
  EXPECT_EQ(replicas_.ReplicaCount(ServerIndex(16)), 1u);
  // Back, and there is room again.
  states_[ServerIndex(16)] = LivenessState::kAlive;
  Report(ServerIndex(17), {});
  Report(ServerIndex(18), {});
  (void)Locations();
  EXPECT_EQ(record.FlagsOf(ServerIndex(16)), ChunkRecord::kLive);
}

TEST_F(LocationPlannerTest, AChunkThatNobodyAliveHoldsKeepsItsLocations) {
  ChunkRecord& record = catalog_.AddChunk(Handle(1), {11, 12, 13, 14, 15});
  for (uint32_t i = 11; i <= 17; ++i) {
    Report(ServerIndex(i), {1});
    states_[ServerIndex(i)] = LivenessState::kDead;
  }
  for (int step = 0; step < 5; ++step) EXPECT_TRUE(Locations().empty());
  EXPECT_EQ(record.LoggedServers().size(), 5u);
}

TEST_F(LocationPlannerTest, CountsChunksThatAreShort) {
  catalog_.AddChunk(Handle(1), {1, 2}, 1000, 7, 2);
  catalog_.AddChunk(Handle(2), {2}, 1000, 7, 2);
  catalog_.AddChunk(Handle(3), {1}, 1000, 7, 1);
  Report(kA, {1, 3});
  Report(kB, {1, 2});
  (void)Locations();
  EXPECT_EQ(locations_.health().without_live_replica, 0u);
  EXPECT_EQ(locations_.health().below_wanted, 1u);
  states_[kB] = LivenessState::kDead;
  (void)Locations();
  EXPECT_EQ(locations_.health().without_live_replica, 1u);
  EXPECT_EQ(locations_.health().below_wanted, 2u);
}

TEST_F(LocationPlannerTest, WalksAllChunksInBoundedSteps) {
  for (uint64_t s = 1; s <= 600; s += 3) catalog_.AddChunk(Handle(s * 1000), {1});
  std::vector<uint64_t> held;
  for (uint64_t s = 1; s <= 600; s += 3) held.push_back(s * 1000);
  catalog_.allocated_mark = 1 << 20;
  Report(kA, held);
  Report(kB, held);
  std::set<ChunkHandle> changed;
  for (int step = 0; step < 30; ++step) {
    const auto changes = Locations(20, 7);
    EXPECT_LE(changes.size(), 7u);
    for (const auto& change : changes) changed.insert(change.handle);
  }
  EXPECT_EQ(changed.size(), 200u);
}

TEST(ReadOrderTest, RanksByWhatIsKnown) {
  using enum LivenessState;
  const uint8_t logged = ChunkRecord::kLogged;
  const uint8_t live = ChunkRecord::kLive;
  EXPECT_EQ(RankReplica(kAlive, true, logged | live), ReadRank::kLive);
  EXPECT_EQ(RankReplica(kAlive, true, live), ReadRank::kLive);
  EXPECT_EQ(RankReplica(kAlive, true, logged), ReadRank::kUnconfirmed);
  EXPECT_EQ(RankReplica(kAlive, false, logged | live), ReadRank::kUnconfirmed);
  EXPECT_EQ(RankReplica(kAlive, false, live), ReadRank::kNone) << "an earlier term's flag";
  EXPECT_EQ(RankReplica(kSuspect, true, logged | live), ReadRank::kSuspect);
  EXPECT_EQ(RankReplica(kUnknown, false, logged), ReadRank::kUnknown);
  EXPECT_EQ(RankReplica(kDead, true, logged | live), ReadRank::kNone);
  EXPECT_EQ(RankReplica(kAlive, true, logged | ChunkRecord::kCorrupt), ReadRank::kNone);
}

TEST(ReadOrderTest, SpreadsChunksOverServersAndStaysTheSameForEach) {
  std::map<uint32_t, int> firsts;
  for (uint64_t s = 1; s <= 3000; ++s) {
    uint32_t best = 1;
    for (uint32_t server = 2; server <= 3; ++server) {
      if (ReadPreference(ChunkHandle(s), ServerIndex(server)) <
          ReadPreference(ChunkHandle(s), ServerIndex(best))) {
        best = server;
      }
    }
    ++firsts[best];
  }
  for (uint32_t server = 1; server <= 3; ++server) EXPECT_NEAR(firsts[server], 1000, 120);
}

TEST_F(GarbagePlannerTest, ATrimmedReplicaIsNoGarbageWhileItsChunkLives) {
  ChunkRecord& record = catalog_.AddChunk(Handle(1), {1, 2});
  catalog_.mutable_trims(kShard).Add(1, kA, 1);
  Report(kA, {1});
  EXPECT_TRUE(Garbage().empty());
  replicas_.OnChunkRemoved(Handle(1), record);
  catalog_.chunks(kShard)->Erase(1);
  catalog_.mutable_trims(kShard).RemoveChunk(1);
  EXPECT_EQ(Garbage(), std::vector<uint64_t>{1});
}

TEST_F(LocationPlannerTest, ATrimmedReplicaIsNeitherAddedNorDroppedNorCounted) {
  catalog_.AddChunk(Handle(1), {2}, 1000, 7, /*wanted=*/2);
  catalog_.AddChunk(Handle(2), {1, 2}, 1000, 7, /*wanted=*/2);
  catalog_.mutable_trims(kShard).Add(1, kA, 1);  // reported, no longer logged
  catalog_.mutable_trims(kShard).Add(2, kA, 1);  // logged, no longer reported
  Report(kA, {1});
  Report(kB, {1, 2});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Locations().empty());
    now_ += 20;
    Report(kA, {1});
  }
  EXPECT_EQ(locations_.health().below_wanted, 2u);
  catalog_.mutable_trims(kShard).Remove(1, kA);
  catalog_.mutable_trims(kShard).Remove(2, kA);
  Locations();
  now_ += 20;
  Report(kA, {1});
  Report(kA, {1});
  const auto changes = Locations();
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].add, ServerList{kA});
  EXPECT_EQ(changes[1].drop, ServerList{kA});
}

}  // namespace
}  // namespace ballast::master
