// SPDX-License-Identifier: Apache-2.0
// The replicated log under simulated faults. A fixed slice of seeds runs with the tests; more with
//   BALLAST_SIM_SEEDS=1000..2000 build/release/tests/raft_sim_test
// and one seed, to look at a failure, with BALLAST_SIM_SEEDS=1234 (BALLAST_SIM_LOG=1: with what the
//   members log).
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/types/error.h"
#include "gtest/gtest.h"
#include "tests/sim/raft_cluster.h"

namespace ballast::testing {
namespace {

using Role = ReplicatedLog::Role;

constexpr uint64_t kSmokeSeeds = 60;

std::pair<uint64_t, uint64_t> Seeds() {
  const char* text = std::getenv("BALLAST_SIM_SEEDS");
  if (text == nullptr) {
    return {1, kSmokeSeeds};
  }
  const std::vector<std::string> ends = absl::StrSplit(text, "..");
  uint64_t first = 0;
  uint64_t last = 0;
  CHECK(absl::SimpleAtoi(ends.front(), &first) && absl::SimpleAtoi(ends.back(), &last))
      << " BALLAST_SIM_SEEDS is N or A..B";
  return {first, last};
}

RaftCluster::Profile ProfileOf(uint64_t seed) {
  Rng rng(seed * 7919);
  RaftCluster::Profile profile;
  const size_t voters[] = {3, 3, 3, 5, 3, 1, 3, 5};
  profile.voters = voters[seed % 8];
  profile.delay_max = absl::Milliseconds(rng.Between(1, 12));
  profile.loss_per_mille = static_cast<uint32_t>(rng.Below(60));
  profile.duplicate_per_mille = static_cast<uint32_t>(rng.Below(60));
  profile.disk_jitter = absl::Milliseconds(rng.Between(1, 8));
  for (size_t i = 0; i < profile.voters; ++i) {
    profile.election_timeouts.push_back(absl::Milliseconds(rng.Between(80, 400)));
  }
  profile.snapshot_log_bytes = rng.Between(1500, 20000);
  profile.segment_bytes = rng.Between(1000, 10000);
  profile.trailing_entries_max = static_cast<uint32_t>(rng.OneIn(3) ? 0 : rng.Below(150));
  profile.inflight_entries_max = static_cast<uint32_t>(rng.Between(4, 200));
  profile.fetch_page_bytes = rng.Between(50, 2000);
  return profile;
}

class RaftSimTest : public ::testing::Test {
 protected:
  RaftSimTest() {
    SetLogLevel(std::getenv("BALLAST_SIM_LOG") != nullptr ? LogLevel::kInfo : LogLevel::kError);
  }
};

TEST_F(RaftSimTest, NothingAcknowledgedIsLostUnderFaults) {
#ifdef BALLAST_RAFT_ASSERTS
  std::cout << "consensus core: built with assertions\n";
#else
  std::cout << "consensus core: the packaged build, without assertions\n";
#endif
  const auto [first, last] = Seeds();
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  uint64_t leaderships = 0;
  uint64_t installs = 0;
  for (uint64_t seed = first; seed <= last; ++seed) {
    RaftCluster cluster(seed, ProfileOf(seed));
    cluster.RunFaults(absl::Seconds(4), /*harsh=*/seed % 2 == 0);
    cluster.Converge();
    ASSERT_EQ(cluster.violation(), "") << "again: BALLAST_SIM_SEEDS=" << seed;
    acknowledged += cluster.acknowledged();
    reads += cluster.reads_served();
    leaderships += cluster.leaderships();
    installs += cluster.installs();
  }
  std::cout << "seeds " << first << ".." << last << ": " << acknowledged << " acknowledged, "
            << reads << " reads, " << leaderships << " leaderships, " << installs
            << " snapshots installed\n";
  EXPECT_GT(acknowledged, 100 * (last - first + 1)) << "the runs were meant to do something";
}

TEST_F(RaftSimTest, TheSameSeedIsTheSameRun) {
  for (const uint64_t seed : {uint64_t{3}, uint64_t{8}}) {
    uint32_t hashes[2] = {};
    for (uint32_t& hash : hashes) {
      RaftCluster cluster(seed, ProfileOf(seed));
      cluster.RunFaults(absl::Seconds(2), /*harsh=*/true);
      cluster.Converge();
      ASSERT_EQ(cluster.violation(), "");
      hash = cluster.trace_hash();
    }
    EXPECT_EQ(hashes[0], hashes[1]) << "seed " << seed;
  }
}

TEST_F(RaftSimTest, AFollowerFarBehindTakesTheSnapshotAndGoesOn) {
  RaftCluster::Profile profile;
  profile.trailing_entries_max = 0;
  RaftCluster cluster(1, profile);
  ASSERT_TRUE(cluster.ProposeUntilAcknowledged(5, absl::Seconds(10)));
  const size_t behind = (*cluster.Leader() + 1) % 3;
  cluster.Crash(behind);
  ASSERT_TRUE(cluster.ProposeUntilAcknowledged(300, absl::Seconds(60)));
  const uint64_t installs = cluster.installs();
  cluster.Start(behind);
  cluster.Converge();
  EXPECT_EQ(cluster.violation(), "");
  EXPECT_GT(cluster.installs(), installs);
  EXPECT_EQ(cluster.machine(behind).Fingerprint(), cluster.machine((behind + 1) % 3).Fingerprint());
}

TEST_F(RaftSimTest, AMemberThatFetchesASnapshotStillVotes) {
  RaftCluster::Profile profile;
  profile.trailing_entries_max = 0;
  profile.fetch_page_bytes = 3;  // hundreds of round trips
  profile.fetch_lease = absl::Seconds(60);
  RaftCluster cluster(2, profile);
  ASSERT_TRUE(cluster.ProposeUntilAcknowledged(5, absl::Seconds(10)));
  const size_t behind = (*cluster.Leader() + 1) % 3;
  const size_t third = (*cluster.Leader() + 2) % 3;
  cluster.Crash(behind);
  ASSERT_TRUE(cluster.ProposeUntilAcknowledged(300, absl::Seconds(60)));
  cluster.Start(behind);
  cluster.sim().RunFor(absl::Milliseconds(400));  // it is fetching now
  const size_t leader = *cluster.Leader();
  ASSERT_LT(cluster.log(behind)->state().applied, cluster.log(leader)->state().applied);
  cluster.Crash(leader);
  // Only the third and the one behind are left: a leader needs the vote of the latter.
  EXPECT_TRUE(cluster.sim().RunUntilTrue(
      [&] {
        return cluster.log(third)->state().leader == NodeId(static_cast<uint32_t>(third + 1));
      },
      absl::Seconds(5)));
  cluster.Start(leader);
  cluster.Converge();
  EXPECT_EQ(cluster.violation(), "");
}

TEST_F(RaftSimTest, AnIsolatedLeaderAnswersNoReads) {
  RaftCluster cluster(3, RaftCluster::Profile{});
  ASSERT_TRUE(cluster.ProposeUntilAcknowledged(5, absl::Seconds(10)));
  const size_t old_leader = *cluster.Leader();
  cluster.sim().RunFor(absl::Milliseconds(50));
  cluster.Isolate(old_leader);
  std::optional<absl::Status> read;
  cluster.log(old_leader)->ReadBarrier([&](absl::Status status) { read = status; });
  ASSERT_TRUE(cluster.sim().RunUntilTrue([&] { return read.has_value(); }, absl::Seconds(5)));
  EXPECT_EQ(ReasonOf(*read), v1::REASON_NOT_LEADER);
  cluster.Converge();
  EXPECT_EQ(cluster.violation(), "");
}

TEST_F(RaftSimTest, LeadershipIsHandedOverWithoutATimeout) {
  RaftCluster cluster(4, RaftCluster::Profile{});
  ASSERT_TRUE(cluster.ProposeUntilAcknowledged(5, absl::Seconds(10)));
  const size_t old_leader = *cluster.Leader();
  cluster.sim().RunFor(absl::Milliseconds(50));
  cluster.log(old_leader)->TransferLeadership();
  EXPECT_TRUE(cluster.sim().RunUntilTrue(
      [&] { return cluster.Leader().has_value() && *cluster.Leader() != old_leader; },
      absl::Milliseconds(100)));
  cluster.Converge();
  EXPECT_EQ(cluster.violation(), "");
}

TEST_F(RaftSimTest, EntriesTooLongForOneMessageArriveInSeveral) {
  RaftCluster::Profile profile;
  profile.segment_bytes = uint64_t{64} << 20;
  profile.snapshot_log_bytes = uint64_t{64} << 20;
  RaftCluster cluster(5, profile);
  ASSERT_TRUE(cluster.ProposeUntilAcknowledged(1, absl::Seconds(10)));
  for (int i = 0; i < 8; ++i) {
    cluster.Propose(*cluster.Leader(), 900 * 1000);
  }
  EXPECT_TRUE(
      cluster.sim().RunUntilTrue([&] { return cluster.acknowledged() >= 9; }, absl::Seconds(10)));
  cluster.Converge();
  EXPECT_EQ(cluster.violation(), "");
}

// From the leader's death to the next acknowledgement, over many kills.
TEST_F(RaftSimTest, FailoverIsQuick) {
  std::vector<absl::Duration> gaps;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    RaftCluster::Profile profile;
    profile.delay_max = absl::Milliseconds(1);
    RaftCluster cluster(seed, profile);
    for (int kill = 0; kill < 10; ++kill) {
      ASSERT_TRUE(cluster.ProposeUntilAcknowledged(3, absl::Seconds(10)));
      cluster.sim().RunFor(absl::Milliseconds(100));
      const size_t leader = *cluster.Leader();
      cluster.Crash(leader);
      const absl::Duration died = cluster.sim().SteadyNow().SinceOrigin();
      ASSERT_TRUE(cluster.ProposeUntilAcknowledged(1, absl::Seconds(10)));
      gaps.push_back(cluster.sim().SteadyNow().SinceOrigin() - died);
      cluster.Start(leader);
    }
    ASSERT_EQ(cluster.violation(), "");
  }
  std::sort(gaps.begin(), gaps.end());
  std::cout << "failover: median " << gaps[gaps.size() / 2] << ", longest " << gaps.back() << "\n";
  EXPECT_LT(gaps[gaps.size() / 2], absl::Milliseconds(350));
}

}  // namespace
}  // namespace ballast::testing
