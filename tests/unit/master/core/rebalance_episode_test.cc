// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/rebalance_episode.h"

#include <map>
#include <set>

#include "common/base/byte_units.h"
#include "gtest/gtest.h"
#include "tests/unit/master/core/fake_catalog.h"

namespace ballast::master {
namespace {

constexpr uint32_t kChunk = 64 << 20;

// Servers and a catalog whose records are moved as an executor of the plan would.
class RebalanceEpisodeTest : public ::testing::Test {
 protected:
  void AddServer(uint64_t chunks_capacity) {
    ServerView server;
    server.server = ServerIndex(static_cast<uint32_t>(servers_.size()) + 1);
    server.capacity_bytes = chunks_capacity * kChunk;
    server.live = server.accepts = true;
    servers_.push_back(server);
    lens_.known.assign(servers_.size() + 1, true);
  }
  void AddChunks(ServerIndex on, int count) {
    for (int i = 0; i < count; ++i) {
      catalog_.chunks(ShardId(i % 2))
          ->Insert(++sequence_, {kChunk, Crc32c{1}, 1}, {on})
          .SetLiveFlags(on, ChunkRecord::kLive);
    }
    servers_[on.value() - 1].used_bytes += static_cast<uint64_t>(count) * kChunk;
  }
  ClusterView View() {
    for (ServerView& server : servers_) {
      server.utilization_pct = 100.0 * static_cast<double>(server.used_bytes) /
                               static_cast<double>(server.capacity_bytes);
    }
    return ClusterView(servers_);
  }
  RebalanceEpisode Begin(size_t moves_max = 1 << 20) {
    ClusterView view = View();
    BalanceGoal goal = PlanBalanceGoal(view, {});
    EXPECT_TRUE(goal.triggered);
    return RebalanceEpisode(std::move(view), std::move(goal), moves_max);
  }
  // Plans to the end; returns the number of steps.
  int Plan(RebalanceEpisode& episode, size_t visits_max) {
    const ClusterView now = View();
    const auto lens = [this](ShardId) { return &lens_; };
    int steps = 0;
    while (episode.Step({catalog_, now, lens}, visits_max)) {
      EXPECT_LT(++steps, 10000);
    }
    return steps;
  }
  void CarryOut(const PlannedMove& move) {
    ChunkRecord* record = catalog_.chunks(move.handle.shard())->Find(move.handle.sequence());
    ASSERT_NE(record, nullptr);
    ASSERT_TRUE(record->FlagsOf(move.from) & ChunkRecord::kLive);
    ASSERT_EQ(record->FlagsOf(move.to), 0);
    catalog_.chunks(move.handle.shard())
        ->ChangeLogged(move.handle.sequence(), {{move.to}}, {{move.from}});
    record->SetLiveFlags(move.from, 0);
    record->SetLiveFlags(move.to, ChunkRecord::kLive);
    servers_[move.from.value() - 1].used_bytes -= move.length_bytes;
    servers_[move.to.value() - 1].used_bytes += move.length_bytes;
  }

  std::vector<ServerView> servers_;
  FakeCatalog catalog_{2};
  ShardLens lens_;
  uint64_t sequence_ = 0;
};

TEST_F(RebalanceEpisodeTest, PlansInSlicesMovesAndSettles) {
  for (int i = 0; i < 3; ++i) AddServer(2000);
  AddChunks(ServerIndex(1), 1500);
  AddChunks(ServerIndex(2), 1500);
  RebalanceEpisode episode = Begin();
  EXPECT_GT(Plan(episode, 100), 10);
  EXPECT_EQ(episode.phase(), RebalanceEpisode::Phase::kMoving);
  EXPECT_EQ(episode.progress().bytes_planned, episode.goal().bytes());
  std::set<ChunkHandle> seen;
  while (const auto move = episode.NextMove()) {
    EXPECT_TRUE(seen.insert(move->handle).second);
    CarryOut(*move);
    episode.OnMoveEnded(true, move->length_bytes);
  }
  EXPECT_TRUE(episode.idle());
  const ClusterView after = View();
  for (const ServerView& server : after.servers()) EXPECT_NEAR(server.utilization_pct, 50, 5.05);
  EXPECT_FALSE(episode.Replan(View(), PlanBalanceGoal(after, {})));
  EXPECT_EQ(episode.phase(), RebalanceEpisode::Phase::kEnded);
  EXPECT_EQ(episode.progress().bytes_moved, episode.progress().bytes_planned);
}

TEST_F(RebalanceEpisodeTest, FailedMovesAreReplannedWithOtherChunks) {
  AddServer(1000);
  AddServer(1000);
  AddChunks(ServerIndex(1), 900);
  RebalanceEpisode episode = Begin();
  Plan(episode, 1 << 20);
  std::set<ChunkHandle> seen;
  int turn = 0;
  for (;;) {
    while (const auto move = episode.NextMove()) {
      ASSERT_TRUE(seen.insert(move->handle).second) << "a chunk is moved once in an episode";
      const bool works = ++turn % 4 != 0;
      if (works) CarryOut(*move);
      episode.OnMoveEnded(works, works ? move->length_bytes : 0);
    }
    const ClusterView now = View();
    if (!episode.Replan(View(), PlanBalanceGoal(now, {}))) break;
    Plan(episode, 1 << 20);
  }
  EXPECT_GT(episode.progress().plans, 1);
  EXPECT_LE(episode.progress().plans, RebalanceEpisode::kPlansMax);
  EXPECT_NEAR(View().at(0).utilization_pct, 45, 5.2);
}

TEST_F(RebalanceEpisodeTest, MovesThatCannotBeginYetComeAgain) {
  AddServer(1000);
  AddServer(1000);
  AddChunks(ServerIndex(1), 900);
  RebalanceEpisode episode = Begin();
  Plan(episode, 1 << 20);
  const auto first = episode.NextMove();
  ASSERT_TRUE(first.has_value());
  episode.PutBack(*first);
  EXPECT_EQ(episode.progress().under_way, 0u);
  size_t moves = 0;
  bool again = false;
  while (const auto move = episode.NextMove()) {
    again |= move->handle == first->handle;
    episode.OnMoveEnded(true, move->length_bytes);
    ++moves;
  }
  EXPECT_TRUE(again);
  EXPECT_EQ(moves, episode.progress().moves_planned);
}

TEST_F(RebalanceEpisodeTest, MovesAreHandedOutColdestFirstAndShownInThatOrder) {
  AddServer(1000);
  AddServer(1000);
  AddChunks(ServerIndex(1), 900);
  Rng rng(3);
  for (uint64_t sequence = 1; sequence <= sequence_; ++sequence) {
    for (const uint32_t shard : {0u, 1u}) {
      catalog_.chunks(ShardId(shard))->AddReads(sequence, rng.Below(50), 0, rng);
    }
  }
  RebalanceEpisode episode = Begin();
  EXPECT_TRUE(episode.FirstWaiting(10).empty()) << "there is no plan yet";
  EXPECT_EQ(episode.waiting_count(), 0u);
  Plan(episode, 64);
  const std::vector<PlannedMove> shown = episode.FirstWaiting(10);
  ASSERT_EQ(shown.size(), 10u);
  EXPECT_EQ(episode.FirstWaiting(1 << 20).size(), episode.waiting_count());
  int heat = 0;
  std::set<uint8_t> heats;
  for (size_t i = 0; const auto move = episode.NextMove(); ++i) {
    if (i < shown.size()) {
      EXPECT_EQ(*move, shown[i]);
    }
    EXPECT_GE(move->heat, heat);
    heat = move->heat;
    heats.insert(move->heat);
    episode.OnMoveEnded(true, move->length_bytes);
  }
  EXPECT_GT(heats.size(), 3u) << "the test has no heats to order by";
}

TEST_F(RebalanceEpisodeTest, AnEpisodeWithNothingToChooseIsIdleAtOnce) {
  AddServer(1000);
  AddServer(1000);
  servers_[0].used_bytes = 900ull * kChunk;  // somebody else's bytes
  RebalanceEpisode episode = Begin();
  Plan(episode, 1 << 20);
  EXPECT_TRUE(episode.idle());
  ASSERT_EQ(episode.blocked().size(), 1u);
  EXPECT_TRUE(episode.blocked()[0].no_chunks);
}

}  // namespace
}  // namespace ballast::master
