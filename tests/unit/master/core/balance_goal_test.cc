// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/balance_goal.h"

#include <cmath>

#include "common/base/byte_units.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace ballast::master {
namespace {

ServerView Server(uint32_t index, uint64_t capacity, double pct) {
  ServerView server;
  server.server = ServerIndex(index);
  server.capacity_bytes = capacity;
  server.used_bytes = static_cast<uint64_t>(static_cast<double>(capacity) * pct / 100);
  server.utilization_pct = pct;
  server.live = server.accepts = true;
  return server;
}

const ServerGoal* GoalOf(const BalanceGoal& goal, uint32_t index) {
  for (const ServerGoal& server : goal.servers) {
    if (server.server == ServerIndex(index)) return &server;
  }
  return nullptr;
}

TEST(BalanceGoalTest, TheExampleOfTheHeader) {
  BalanceLimits limits;
  limits.chunk_bytes = MiB(64);
  const ClusterView view({Server(1, GiB(100), 78), Server(2, GiB(100), 15), Server(3, GiB(100), 57),
                          Server(4, GiB(100), 50)});
  const BalanceGoal goal = PlanBalanceGoal(view, limits);
  EXPECT_TRUE(goal.triggered);
  EXPECT_DOUBLE_EQ(goal.mean_pct, 50);
  EXPECT_NEAR(goal.target_pct, 50, 1e-6);
  ASSERT_NE(GoalOf(goal, 2), nullptr);
  EXPECT_EQ(GoalOf(goal, 2)->gain_bytes, GiB(30));
  EXPECT_EQ(goal.shed_bytes, GiB(30));
  EXPECT_NEAR(static_cast<double>(GoalOf(goal, 1)->shed_bytes / MiB(1)), 26112, 128);
  EXPECT_EQ(GoalOf(goal, 4), nullptr);
}

TEST(BalanceGoalTest, NothingIsTriggeredWithinTheThreshold) {
  const ClusterView view({Server(1, GiB(100), 69), Server(2, GiB(100), 31)});
  EXPECT_FALSE(PlanBalanceGoal(view, {}).triggered);
  const ClusterView beyond({Server(1, GiB(100), 71), Server(2, GiB(100), 29)});
  EXPECT_TRUE(PlanBalanceGoal(beyond, {}).triggered);
}

TEST(BalanceGoalTest, AnEmptyServerAmongFullOnesGainsWhatItNeedsToReachTheBand) {
  std::vector<ServerView> servers;
  for (uint32_t i = 1; i <= 5; ++i) servers.push_back(Server(i, GiB(100), 60));
  servers.push_back(Server(6, GiB(100), 0));
  const BalanceGoal goal = PlanBalanceGoal(ClusterView(servers), {});
  EXPECT_TRUE(goal.triggered);
  EXPECT_EQ(goal.gain_bytes, GiB(45));  // target 50, band 45..55; the others are above it by 5 each
  EXPECT_EQ(goal.shed_bytes, GiB(45));
}

TEST(BalanceGoalTest, DeadDrainingForeignAndEmptyDisksTakeNoPart) {
  std::vector<ServerView> servers = {Server(1, GiB(100), 90), Server(2, GiB(100), 10),
                                     Server(3, GiB(100), 10), Server(4, GiB(100), 10),
                                     Server(5, GiB(100), 10), Server(6, 0, 0)};
  servers[1].live = false;
  servers[2].draining = true;
  servers[3].managed = false;
  const BalanceGoal goal = PlanBalanceGoal(ClusterView(servers), {});
  EXPECT_DOUBLE_EQ(goal.mean_pct, 50);
  for (uint32_t i : {2u, 3u, 4u, 6u}) EXPECT_EQ(GoalOf(goal, i), nullptr) << i;
}

TEST(BalanceGoalTest, AServerThatAcceptsNothingGainsNothing) {
  std::vector<ServerView> servers = {Server(1, GiB(100), 90), Server(2, GiB(100), 10)};
  servers[1].accepts = false;
  const BalanceGoal goal = PlanBalanceGoal(ClusterView(servers), {});
  EXPECT_TRUE(goal.triggered);
  EXPECT_EQ(goal.bytes(), 0u);
}

TEST(BalanceGoalTest, NoServersNoGoal) {
  const BalanceGoal goal = PlanBalanceGoal(ClusterView({}), {});
  EXPECT_FALSE(goal.triggered);
  EXPECT_EQ(goal.mean_pct, 0);
}

// Those that give beyond what they must are the fullest, portion by portion; likewise the emptiest
// take.
TEST(BalanceGoalTest, TheFullestGiveAndTheEmptiestTakeWhatIsMissing) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const bool empty_comes = seed % 2 == 0;
    std::vector<ServerView> servers;
    const auto count = static_cast<uint32_t>(rng.Between(5, 80));
    for (uint32_t i = 1; i <= count; ++i) {
      servers.push_back(
          Server(i, GiB(rng.Between(100, 1000)), static_cast<double>(rng.Between(480, 520)) / 10));
    }
    servers.push_back(Server(count + 1, GiB(500), empty_comes ? 0 : 98));
    const BalanceLimits limits;
    const BalanceGoal goal = PlanBalanceGoal(ClusterView(servers), limits);
    ASSERT_GT(goal.bytes(), 0u);
    EXPECT_EQ(goal.shed_bytes, goal.gain_bytes);
    const double sign = empty_comes ? 1 : -1;
    const auto portion = static_cast<double>(limits.chunk_bytes);
    double lowest_step = 1e9;    // from which a portion was given
    double highest_left = -1e9;  // from which none was
    for (uint32_t i = 1; i <= count; ++i) {
      const ServerView& server = servers[i - 1];
      const ServerGoal* own = GoalOf(goal, i);
      const double moved =
          own == nullptr ? 0 : static_cast<double>(empty_comes ? own->shed_bytes : own->gain_bytes);
      const auto capacity = static_cast<double>(server.capacity_bytes);
      const double left =
          sign * static_cast<double>(server.used_bytes) / capacity - moved / capacity;
      highest_left = std::max(highest_left, left);
      if (moved > 0) lowest_step = std::min(lowest_step, left + portion / capacity);
    }
    EXPECT_GE(lowest_step, highest_left - 1e-9);
  }
}

// Random clusters: everyone ends in the band, nobody both sheds and gains, and the bytes are the
// lower bound.
TEST(BalanceGoalTest, RandomClustersEndInTheBandWithTheFewestBytes) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    std::vector<ServerView> servers;
    const auto count = static_cast<uint32_t>(rng.Between(3, 500));
    for (uint32_t i = 1; i <= count; ++i) {
      servers.push_back(
          Server(i, GiB(rng.Between(100, 1000)), static_cast<double>(rng.Between(0, 98))));
    }
    const ClusterView view(servers);
    BalanceLimits limits;
    const BalanceGoal goal = PlanBalanceGoal(view, limits);
    ASSERT_EQ(goal.shed_bytes, goal.gain_bytes);
    double excess = 0;
    double shortage = 0;
    const auto portion = static_cast<double>(limits.chunk_bytes);
    for (const ServerView& server : servers) {
      const auto capacity = static_cast<double>(server.capacity_bytes);
      const auto used = static_cast<double>(server.used_bytes);
      excess +=
          std::ceil(std::max(0.0, used - (goal.target_pct + 5) / 100 * capacity) / portion - 1e-6);
      shortage +=
          std::ceil(std::max(0.0, (goal.target_pct - 5) / 100 * capacity - used) / portion - 1e-6);
      const ServerGoal* own = GoalOf(goal, server.server.value());
      double after = used;
      if (own != nullptr) {
        EXPECT_TRUE(own->shed_bytes == 0 || own->gain_bytes == 0);
        after += static_cast<double>(own->gain_bytes) - static_cast<double>(own->shed_bytes);
      }
      EXPECT_NEAR(after / capacity * 100, goal.target_pct, 5 + 100 * portion / capacity);
    }
    EXPECT_EQ(static_cast<double>(goal.shed_bytes), std::max(excess, shortage) * portion);
  }
}

}  // namespace
}  // namespace ballast::master
