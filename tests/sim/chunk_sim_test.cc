// SPDX-License-Identifier: Apache-2.0
// The chunk plane under simulated faults. A fixed slice of seeds runs with the tests; more with
//   BALLAST_SIM_SEEDS=1000..2000 build/release/tests/chunk_sim_test
// and one seed, to look at a failure, with BALLAST_SIM_SEEDS=1234 (BALLAST_SIM_LOG=1: with what the
// processes log; BALLAST_SIM_TRACE=1: with every event).
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "gtest/gtest.h"
#include "tests/sim/chunk_cluster.h"
#include "tests/sim/chunk_faults.h"

namespace ballast::testing {
namespace {

constexpr uint64_t kSmokeSeeds = 40;

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

ChunkCluster::Profile ProfileOf(uint64_t seed) {
  Rng rng(seed * 7919);
  ChunkCluster::Profile profile;
  profile.masters = seed % 4 == 3 ? 1 : 3;
  profile.servers = rng.Between(3, 7);
  profile.clients = rng.Between(1, 3);
  profile.shards = static_cast<uint32_t>(rng.Between(1, 8));
  profile.surplus_hold_intervals = rng.OneIn(3) ? 60 : 4;
  profile.capacity_bytes = rng.OneIn(3) ? 1 << 20 : 8 << 20;
  return profile;
}

struct Total {
  uint64_t puts = 0;
  uint64_t copies = 0;
  uint64_t acked = 0;
  uint64_t reads = 0;
  uint64_t removed = 0;
  uint64_t trimmed = 0;
  uint64_t deaths = 0;
  std::map<std::string, uint64_t> faults;
};

// One whole life of a cluster. Returns its trace.
uint32_t Live(uint64_t seed, absl::Duration faults_for, std::string* violation, Total* total) {
  ChunkCluster cluster(seed, ProfileOf(seed));
  if (seed % 4 == 1) {
    cluster.AwaitReports();  // of idle servers: no write gives occasion to ask
  }
  cluster.StartClients();
  cluster.StartMoving();
  cluster.RunFor(absl::Seconds(6));
  ChunkFaults faults(cluster, /*harsh=*/seed % 2 == 0);
  faults.Start();
  cluster.RunFor(faults_for);
  faults.Stop();
  cluster.RunFor(absl::Seconds(4));  // whoever is to die soon does
  cluster.RunUntil([&] { return cluster.sim().SteadyNow().SinceOrigin() >= faults.away_until(); },
                   absl::Minutes(1));
  cluster.Converge();
  *violation = cluster.violation();
  total->puts += cluster.puts();
  total->copies += cluster.copies_done();
  total->acked += cluster.checker().counts().chunks_acked;
  total->reads += cluster.checker().counts().reads;
  total->removed += cluster.checker().counts().removed;
  total->trimmed += cluster.checker().counts().removed_by_trim;
  total->deaths += cluster.checker().counts().deaths;
  for (const auto& [kind, count] : faults.done()) {
    total->faults[kind] += count;
  }
  return cluster.trace_hash();
}

class ChunkSimTest : public ::testing::Test {
 protected:
  ChunkSimTest() {
    SetLogLevel(std::getenv("BALLAST_SIM_LOG") != nullptr ? LogLevel::kInfo : LogLevel::kError);
  }
};

TEST_F(ChunkSimTest, KeepsItsPromisesUnderFaults) {
  const auto [first, last] = Seeds();
  Total total;
  for (uint64_t seed = first; seed <= last; ++seed) {
    std::string violation;
    Live(seed, absl::Seconds(40), &violation, &total);
    ASSERT_EQ(violation, "") << "again: BALLAST_SIM_SEEDS=" << seed
                             << " build/release/tests/chunk_sim_test";
  }
  std::cout << "seeds " << first << ".." << last << ": " << total.puts << " puts, " << total.copies
            << " copies and moves, " << total.acked << " chunks acknowledged, " << total.reads
            << " chunks read, " << total.removed << " removed, " << total.trimmed
            << " of them trimmed, " << total.deaths << " servers declared dead\n";
  for (const auto& [kind, count] : total.faults) {
    std::cout << "  " << count << " x " << kind << "\n";
  }
  const uint64_t seeds = last - first + 1;
  EXPECT_GT(total.puts, 5 * seeds) << "the runs were meant to do something";
  EXPECT_GT(total.removed, 2 * seeds);
}

TEST_F(ChunkSimTest, TheSameSeedIsTheSameRun) {
  for (const uint64_t seed : {uint64_t{3}, uint64_t{4}}) {
    Total total;
    std::string violation;
    const uint32_t once = Live(seed, absl::Seconds(15), &violation, &total);
    const uint32_t again = Live(seed, absl::Seconds(15), &violation, &total);
    EXPECT_EQ(once, again) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ballast::testing
