// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/placement.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/byte_units.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;

std::vector<PlacementCandidate> Servers(uint32_t count, uint64_t free_bytes, uint32_t zones = 1) {
  std::vector<PlacementCandidate> servers;
  for (uint32_t i = 1; i <= count; ++i) {
    servers.push_back({ServerIndex(i), absl::StrCat("zone", i % zones), free_bytes, false});
  }
  return servers;
}

ServerCensus Census(uint32_t alive, uint32_t unknown = 0) {
  return {alive + unknown, alive, 0, 0, unknown, 2, 0};
}

uint32_t Chunk() { return static_cast<uint32_t>(MiB(64)); }

TEST(PlacementTest, NeverPutsTwoReplicasOnOneServer) {
  Rng rng(1);
  for (uint32_t n = 1; n <= 8; ++n) {
    ASSERT_OK_AND_ASSIGN(const Chains chains,
                         PlaceChunks(Servers(n, GiB(100)), Census(n), {50, 5, 1, Chunk()}, rng));
    ASSERT_EQ(chains.size(), 50u);
    for (const auto& chain : chains) {
      EXPECT_EQ(chain.size(), std::min(n, 5u));
      EXPECT_EQ(std::set<ServerIndex>(chain.begin(), chain.end()).size(), chain.size());
    }
  }
}

TEST(PlacementTest, UsesDistinctZonesWhileThereAreEnough) {
  Rng rng(2);
  const auto servers = Servers(12, GiB(100), 3);
  ASSERT_OK_AND_ASSIGN(const Chains three,
                       PlaceChunks(servers, Census(12), {200, 3, 2, Chunk()}, rng));
  for (const auto& chain : three) {
    std::set<uint32_t> zones;
    for (ServerIndex s : chain) zones.insert(s.value() % 3);
    EXPECT_EQ(zones.size(), 3u);
  }
  ASSERT_OK_AND_ASSIGN(const Chains five,
                       PlaceChunks(servers, Census(12), {200, 5, 2, Chunk()}, rng));
  for (const auto& chain : five) {
    std::set<uint32_t> first_zones;
    for (size_t i = 0; i < 3; ++i) first_zones.insert(chain[i].value() % 3);
    EXPECT_EQ(first_zones.size(), 3u) << "a zone was used twice before all were used once";
    EXPECT_EQ(chain.size(), 5u);
  }
}

TEST(PlacementTest, AFullZoneIsNotWaitedFor) {
  Rng rng(3);
  auto servers = Servers(4, GiB(100), 2);
  servers[0].free_bytes = servers[2].free_bytes = KiB(1);  // all of zone1
  ASSERT_OK_AND_ASSIGN(const Chains chains,
                       PlaceChunks(servers, Census(4), {10, 2, 2, Chunk()}, rng));
  for (const auto& chain : chains) EXPECT_EQ(chain.size(), 2u);
}

TEST(PlacementTest, FirstServersAreDrawnInProportionToFreeSpace) {
  Rng rng(4);
  auto servers = Servers(3, TiB(1));
  servers[0].free_bytes = TiB(300);
  servers[1].free_bytes = TiB(200);
  servers[2].free_bytes = TiB(100);
  std::map<uint32_t, int> firsts;
  for (int i = 0; i < 40; ++i) {
    ASSERT_OK_AND_ASSIGN(const Chains chains,
                         PlaceChunks(servers, Census(3), {256, 1, 1, Chunk()}, rng));
    for (const auto& chain : chains) ++firsts[chain[0].value()];
  }
  // 10,240 draws; expected 5120, 3413, 1707 with deviations below 52.
  EXPECT_NEAR(firsts[1], 5120, 260);
  EXPECT_NEAR(firsts[2], 3413, 260);
  EXPECT_NEAR(firsts[3], 1707, 260);
}

TEST(PlacementTest, NeverPromisesMoreThanAServerHas) {
  Rng rng(5);
  auto servers = Servers(4, MiB(64) * 10);
  servers[0].free_bytes = MiB(64) * 2 + 1;
  ASSERT_OK_AND_ASSIGN(const Chains chains,
                       PlaceChunks(servers, Census(4), {10, 3, 3, Chunk()}, rng));
  std::map<uint32_t, int> taken;
  for (const auto& chain : chains) {
    for (ServerIndex s : chain) ++taken[s.value()];
  }
  EXPECT_LE(taken[1], 2);
  for (uint32_t s = 2; s <= 4; ++s) EXPECT_LE(taken[s], 10);
}

TEST(PlacementTest, AShorterChainIsFineDownToTheRequired) {
  Rng rng(6);
  ASSERT_OK_AND_ASSIGN(const Chains chains,
                       PlaceChunks(Servers(2, GiB(1)), Census(2), {1, 3, 2, Chunk()}, rng));
  EXPECT_EQ(chains[0].size(), 2u);
}

TEST(PlacementTest, AvoidedServersAreUsedOnlyIfTheOthersDoNotSuffice) {
  Rng rng(7);
  auto servers = Servers(3, GiB(100));
  servers[1].avoid = true;
  ASSERT_OK_AND_ASSIGN(Chains chains, PlaceChunks(servers, Census(3), {50, 3, 2, Chunk()}, rng));
  for (const auto& chain : chains) {
    EXPECT_EQ(std::count(chain.begin(), chain.end(), ServerIndex(2)), 0);
    EXPECT_EQ(chain.size(), 2u);
  }
  servers[0].avoid = true;
  ASSERT_OK_AND_ASSIGN(chains, PlaceChunks(servers, Census(3), {50, 3, 2, Chunk()}, rng));
  for (const auto& chain : chains) EXPECT_EQ(chain.size(), 3u);
}

TEST(PlacementTest, TooFewServersSaysHowManyAndWhatToDo) {
  Rng rng(8);
  const auto result = PlaceChunks(Servers(1, GiB(1)), Census(1), {1, 3, 2, Chunk()}, rng);
  EXPECT_THAT(result, HasReason(v1::REASON_TOO_FEW_SERVERS));
  EXPECT_THAT(
      std::string(result.status().message()),
      ::testing::AllOf(::testing::HasSubstr("1 alive"), ::testing::HasSubstr("--min-replicas 1")));
  // Also for a write that asks for no chunk yet.
  EXPECT_THAT(PlaceChunks({}, Census(0), {0, 3, 2, Chunk()}, rng),
              HasReason(v1::REASON_TOO_FEW_SERVERS));
}

TEST(PlacementTest, ServersThatMayYetReportAreWaitedFor) {
  Rng rng(9);
  EXPECT_THAT(PlaceChunks(Servers(1, GiB(1)), Census(1, 2), {1, 3, 2, Chunk()}, rng),
              HasReason(v1::REASON_NOT_READY));
}

TEST(PlacementTest, NoRoomIsNoSpaceAlsoHalfwayAndForNoChunks) {
  Rng rng(10);
  EXPECT_THAT(PlaceChunks(Servers(3, MiB(63)), Census(3), {1, 3, 2, Chunk()}, rng),
              HasReason(v1::REASON_NO_SPACE));
  EXPECT_THAT(PlaceChunks(Servers(3, MiB(63)), Census(3), {0, 3, 2, Chunk()}, rng),
              HasReason(v1::REASON_NO_SPACE));
  EXPECT_THAT(PlaceChunks(Servers(3, MiB(64) * 4), Census(3), {5, 3, 2, Chunk()}, rng),
              HasReason(v1::REASON_NO_SPACE));
  EXPECT_OK(PlaceChunks(Servers(3, MiB(64) * 4), Census(3), {4, 3, 3, Chunk()}, rng));
}

TEST(PlacementTest, HoldsItsRulesOnRandomClusters) {
  const uint64_t seed = 77;
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  Rng rng(seed);
  for (int trial = 0; trial < 500; ++trial) {
    const uint32_t n = static_cast<uint32_t>(rng.Between(1, 40));
    const uint32_t zones = static_cast<uint32_t>(rng.Between(1, 6));
    auto servers = Servers(n, 0, zones);
    std::map<ServerIndex, PlacementCandidate> by_index;
    for (auto& s : servers) {
      s.free_bytes = rng.Below(MiB(64) * 30);
      s.avoid = rng.OneIn(5);
      by_index[s.server] = s;
    }
    ChunksToPlace request;
    request.chunk_count = static_cast<uint32_t>(rng.Below(20));
    request.wanted_replicas = static_cast<uint32_t>(rng.Between(1, 5));
    request.required_replicas = static_cast<uint32_t>(rng.Between(1, request.wanted_replicas));
    request.chunk_bytes = static_cast<uint32_t>(rng.Between(1, MiB(64)));
    const auto chains = PlaceChunks(servers, Census(n), request, rng);
    if (!chains.ok()) continue;
    ASSERT_EQ(chains->size(), request.chunk_count);
    for (const auto& chain : *chains) {
      ASSERT_GE(chain.size(), request.required_replicas);
      ASSERT_LE(chain.size(), request.wanted_replicas);
      ASSERT_EQ(std::set<ServerIndex>(chain.begin(), chain.end()).size(), chain.size());
      for (ServerIndex s : chain) {
        ASSERT_GE(by_index[s].free_bytes, request.chunk_bytes);
        by_index[s].free_bytes -= request.chunk_bytes;
      }
    }
  }
}

TEST(PlacementTest, HugeClaimsOfSpaceDoNotOverflow) {
  Rng rng(11);
  ASSERT_OK_AND_ASSIGN(const Chains chains, PlaceChunks(Servers(1000, ~uint64_t{0}), Census(1000),
                                                        {256, 5, 5, Chunk()}, rng));
  EXPECT_EQ(chains.size(), 256u);
}

}  // namespace
}  // namespace ballast::master
