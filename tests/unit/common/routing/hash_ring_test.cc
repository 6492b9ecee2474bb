// SPDX-License-Identifier: Apache-2.0
#include "common/routing/hash_ring.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/rng.h"
#include "common/routing/shard_router.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Server = HashRing::Server;

HashRing Ring(std::vector<Server> servers) {
  auto ring = HashRing::Make(std::move(servers));
  CHECK(ring.ok()) << ring.status();
  return *std::move(ring);
}

HashRing Equal(int servers, uint32_t points) {
  std::vector<Server> all;
  for (int i = 0; i < servers; ++i) {
    all.push_back({absl::StrCat("server", i), points});
  }
  return Ring(std::move(all));
}

std::string OwnerOf(const HashRing& ring, uint64_t hash) {
  const uint32_t server = ring.Find(hash);
  return server == HashRing::kNoServer ? std::string() : ring.servers()[server].id;
}

std::vector<std::string> Names(const HashRing& ring, absl::string_view key, size_t count) {
  std::vector<std::string> names;
  for (const uint32_t server : ring.Successors(StableHash(key), count)) {
    names.push_back(ring.servers()[server].id);
  }
  return names;
}

TEST(HashRingTest, TheTestVectorsOfTheSpecificationHold) {
  std::ifstream file("docs/protocols/hash_ring_vectors.tsv");
  std::map<std::string, HashRing> rings;
  std::string line;
  int points = 0, routes = 0;
  while (std::getline(file, line)) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    if (fields[0] == "point") {
      uint32_t number = 0;
      ASSERT_TRUE(absl::SimpleAtoi(fields[2], &number));
      std::string bytes = fields[1];
      for (int byte = 0; byte < 4; ++byte) bytes += static_cast<char>(number >> (8 * byte));
      EXPECT_EQ(absl::StrCat(absl::Hex(StableHash(bytes), absl::kZeroPad16)), fields[3]) << line;
      // The library's server gets exactly there with this point and not without.
      const uint64_t position = StableHash(bytes);
      const Server other = {"other", 100'000};
      EXPECT_EQ(OwnerOf(Ring({{fields[1], number + 1}, other}), position), fields[1]) << line;
      EXPECT_NE(OwnerOf(Ring({{"zz", number + 1}, other}), position), fields[1]) << line;
      ++points;
    } else if (fields[0] == "ring") {
      std::vector<Server> servers;
      for (size_t i = 2; i < fields.size(); ++i) {
        const std::pair<std::string, std::string> server = absl::StrSplit(fields[i], '=');
        servers.push_back({server.first, 0});
        ASSERT_TRUE(absl::SimpleAtoi(server.second, &servers.back().points));
      }
      rings[fields[1]] = Ring(servers);
    } else if (fields[0] == "route") {
      const std::string key = fields[2] == "<empty>" ? "" : fields[2];
      EXPECT_EQ(absl::StrCat(absl::Hex(StableHash(key), absl::kZeroPad16)), fields[3]) << line;
      EXPECT_EQ(Names(rings.at(fields[1]), key, 100),
                std::vector<std::string>(fields.begin() + 4, fields.end()))
          << line;
      ++routes;
    }
  }
  EXPECT_EQ(points, 28);
  EXPECT_GE(routes, 150);
}

TEST(HashRingTest, AnEmptyRingRoutesNothing) {
  const HashRing ring;
  EXPECT_EQ(ring.Find(7), HashRing::kNoServer);
  EXPECT_THAT(ring.Successors(7, 3), IsEmpty());
  EXPECT_THAT(ring.Shares(), IsEmpty());
  EXPECT_EQ(Ring({{"a", 0}}).Find(7), HashRing::kNoServer);  // known, without points
}

TEST(HashRingTest, OneServerHasEverything) {
  for (const uint32_t points : {1u, 2u, 1024u}) {
    const HashRing ring = Ring({{"only", points}});
    for (const uint64_t hash : {uint64_t{0}, uint64_t{1} << 63, ~uint64_t{0}}) {
      EXPECT_EQ(ring.Find(hash), 0u);
    }
    EXPECT_THAT(ring.Shares(), ElementsAre(::testing::DoubleNear(1, 1e-12)));
    EXPECT_THAT(ring.Successors(5, 9), ElementsAre(0u));
  }
}

TEST(HashRingTest, AKeyBelongsToTheNextPointClockwiseAndTheCircleCloses) {
  const HashRing ring = Ring({{"a", 3}, {"b", 2}});
  std::map<uint64_t, std::string> points;
  for (const auto& [id, count] : {std::pair("a", 3), std::pair("b", 2)}) {
    for (int i = 0; i < count; ++i) {
      points[StableHash(id + std::string{static_cast<char>(i), 0, 0, 0})] = id;
    }
  }
  ASSERT_EQ(points.size(), 5u);
  for (const auto& [position, id] : points) {
    EXPECT_EQ(OwnerOf(ring, position), id);
    const auto next = points.upper_bound(position);
    EXPECT_EQ(OwnerOf(ring, position + 1),
              next == points.end() ? points.begin()->second : next->second);
  }
}

TEST(HashRingTest, LookUpsAgreeWithASearchThroughAllPointsWhateverTheirNumber) {
  Rng rng(11);
  for (uint32_t points = 1; points < 3000; points += 1 + points / 3) {
    const HashRing ring = Ring({{"a", points}, {"b", points / 2}});
    std::map<uint64_t, std::string> all;
    for (const Server& server : ring.servers()) {
      for (uint32_t i = 0; i < server.points; ++i) {
        std::string bytes = server.id;
        for (int byte = 0; byte < 4; ++byte) bytes += static_cast<char>(i >> (8 * byte));
        all[StableHash(bytes)] = server.id;
      }
    }
    std::vector<uint64_t> hashes = {0, ~uint64_t{0}};
    for (const auto& [position, id] : all) {
      hashes.insert(hashes.end(), {position - 1, position, position + 1, rng.Next()});
    }
    for (const uint64_t hash : hashes) {
      const auto next = all.lower_bound(hash);
      ASSERT_EQ(OwnerOf(ring, hash), next == all.end() ? all.begin()->second : next->second)
          << points << " points, " << hash;
    }
  }
}

TEST(HashRingTest, WhatCannotBeIsRefused) {
  EXPECT_THAT(HashRing::Make({{"a", 1}, {"b", 1}, {"a", 2}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(HashRing::Make({{"", 1}}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(HashRing::Make({{std::string(1025, 'x'), 1}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(HashRing::Make({{"a", HashRing::kServerPointsMax + 1}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  std::vector<Server> too_many;
  for (int i = 0; i < 33; ++i) too_many.push_back({absl::StrCat(i), HashRing::kServerPointsMax});
  EXPECT_THAT(HashRing::Make(too_many), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Ring({{"a", 1}}).Without("b"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(HashRing().Without("a"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(HashRingTest, HostileIdsAndKeysAreBytesLikeAnyOther) {
  const std::string nul("\0\0\0\0", 4);
  const HashRing ring = Ring({{nul, 10}, {nul + nul, 10}, {"\xff\xfe", 10}, {"a\nb", 10}});
  for (const std::string& key : {std::string(), nul, std::string(1 << 20, '\xff')}) {
    EXPECT_EQ(Names(ring, key, 10).size(), 4u);
  }
}

// Which parts of the circle change hands, exactly: the ends of all arcs of both rings are compared.
struct Movement {
  double moved = 0;       // of the circle
  double collateral = 0;  // of it, between two servers that are both in `bystanders`
};
Movement Compare(const HashRing& before, const HashRing& after,
                 const std::function<bool(const std::string&)>& changed) {
  std::set<uint64_t> ends;
  for (const HashRing* ring : {&before, &after}) {
    for (const Server& server : ring->servers()) {
      for (uint32_t i = 0; i < server.points; ++i) {
        std::string bytes = server.id;
        for (int byte = 0; byte < 4; ++byte) bytes += static_cast<char>(i >> (8 * byte));
        ends.insert(StableHash(bytes));
      }
    }
  }
  Movement movement;
  uint64_t last = *ends.rbegin();
  for (const uint64_t end : ends) {
    const double part = static_cast<double>(end - last) / 18446744073709551616.0;
    const std::string from = OwnerOf(before, end), to = OwnerOf(after, end);
    if (from != to) {
      movement.moved += part;
      if (!changed(from) && !changed(to)) movement.collateral += part;
    }
    last = end;
  }
  return movement;
}

TEST(HashRingTest, ChangesMoveOnlyTheChangedServersKeysAndAsManyAsTheyMust) {
  Rng rng(41);
  HashRing ring = Equal(8, 100);
  double over_sigma = 0;
  const int kChanges = 300;
  for (int step = 0; step < kChanges; ++step) {
    const std::string id = absl::StrCat("server", rng.Below(20));
    const uint32_t at = ring.IndexOf(id);
    const uint32_t before = at == HashRing::kNoServer ? 0 : ring.servers()[at].points;
    const bool leave = before > 0 && ring.servers().size() > 3 && rng.Below(3) == 0;
    const uint32_t points = leave ? 0 : static_cast<uint32_t>(1 + rng.Below(300));
    const auto changed = leave ? ring.Without(id) : ring.With({id, points});
    ASSERT_OK(changed.status());
    const Movement movement =
        Compare(ring, *changed, [&](const std::string& s) { return s == id; });
    EXPECT_EQ(movement.collateral, 0);
    // Exactly the arcs of the points that came or went; of n random points, v have v/n on average.
    const double v = std::abs(static_cast<double>(points) - static_cast<double>(before));
    const double n = static_cast<double>(std::max(ring.point_count(), changed->point_count()));
    // What both sides of such an arc owned already does not move.
    const double own = static_cast<double>(std::min(points, before)) / n;
    const double mean = v / n * (1 - own);
    const double sigma = std::sqrt(v * (n - v) / (n * n * (n + 1))) + 1e-9;
    EXPECT_LE(std::abs(movement.moved - mean), 6 * sigma + 1 / n) << id << " " << points;
    over_sigma += (movement.moved - mean) / sigma;
    ring = *changed;
  }
  EXPECT_LE(std::abs(over_sigma), 3 * std::sqrt(kChanges) + 10);
}

TEST(HashRingTest, TheOrderOfChangesLeavesNoTrace) {
  Rng rng(7);
  std::map<std::string, uint32_t> want;
  HashRing ring;
  for (int step = 0; step < 200; ++step) {
    const std::string id = absl::StrCat("s", rng.Below(12));
    if (want.count(id) != 0 && rng.Below(2) == 0) {
      want.erase(id);
      ring = *ring.Without(id);
    } else {
      want[id] = static_cast<uint32_t>(rng.Below(60));
      ring = *ring.With({id, want[id]});
    }
    std::vector<Server> all;
    for (const auto& [name, points] : want) all.push_back({name, points});
    std::reverse(all.begin(), all.end());
    const HashRing fresh = Ring(all);
    ASSERT_EQ(ring.servers(), fresh.servers());
    for (int i = 0; i < 200; ++i) {
      const uint64_t hash = rng.Next();
      ASSERT_EQ(ring.Successors(hash, 3), fresh.Successors(hash, 3));
    }
  }
}

TEST(HashRingTest, SharesFollowPointsAndAreLevelToAFewPercent) {
  const HashRing ring = Equal(64, 1024);
  const std::vector<double> shares = ring.Shares();
  double sum = 0;
  for (const double share : shares) sum += share;
  EXPECT_NEAR(sum, 1, 1e-9);
  EXPECT_LE(*std::max_element(shares.begin(), shares.end()) * 64, 1.10);
  EXPECT_LE(static_cast<double>(ring.memory_bytes()) - 64 * 64,
            16.0 * static_cast<double>(ring.point_count()));

  const std::vector<double> weighted = Ring({{"a", 1024}, {"b", 4096}, {"c", 0}}).Shares();
  EXPECT_NEAR(weighted[1] / weighted[0], 4, 0.6);
  EXPECT_EQ(weighted[2], 0);
}

TEST(HashRingTest, WeightsBecomePointsWhateverOthersHave) {
  EXPECT_EQ(RingPoints(0, 1024), 0u);
  EXPECT_EQ(RingPoints(1, 1024), 1024u);
  EXPECT_EQ(RingPoints(1.5, 1024), 1536u);
  EXPECT_EQ(RingPoints(1e-9, 1024), 1u);
  EXPECT_EQ(RingPoints(1e300, 1024), HashRing::kServerPointsMax);
}

TEST(HashRingTest, TenThousandServersAreRoutedInOrderAndWithoutRepeats) {
  const HashRing ring = Equal(10'000, 20);
  Rng rng(3);
  for (int i = 0; i < 100; ++i) {
    const auto successors = ring.Successors(rng.Next(), 100);
    EXPECT_EQ(std::set<uint32_t>(successors.begin(), successors.end()).size(), 100u);
  }
  const auto all = ring.Successors(0, 20'000);
  EXPECT_EQ(std::set<uint32_t>(all.begin(), all.end()).size(), 10'000u);
}

TEST(HashRingTest, WithBoundedLoadNoServerIsAboveItsPartTimesTheFactor) {
  const HashRing ring = Ring({{"a", 512}, {"b", 512}, {"c", 1024}});
  const std::vector<double> parts = {0.25, 0.25, 0.5};
  std::vector<uint64_t> load(3);
  Rng rng(5);
  for (uint64_t total = 1; total <= 5000; ++total) {
    // A few keys are asked for most of the time.
    const uint64_t hash = StableHash(absl::StrCat("key", rng.Below(rng.Below(10) == 0 ? 999 : 2)));
    const uint32_t server = ring.FindWithRoom(
        hash, [&](uint32_t s) { return load[s] < LoadBound(total, parts[s], 1.25); });
    ASSERT_NE(server, HashRing::kNoServer);
    ++load[server];
    for (int s = 0; s < 3; ++s) {
      ASSERT_LE(static_cast<double>(load[s]), 1.25 * parts[s] * static_cast<double>(total) + 1);
    }
  }
  EXPECT_EQ(ring.FindWithRoom(1, [](uint32_t) { return false; }), HashRing::kNoServer);
}

// libmemcached's weighted ketama: every server has 40 groups of 4 points, times its part of all
// weights, in single-precision floating point; so their number depends on how many servers there
// are.
uint32_t KetamaPoints(int servers) {
  const float part = 1.0F / static_cast<float>(servers);
  return static_cast<uint32_t>(
             std::floor(part * 160.0F / 4.0F * static_cast<float>(servers) + 0.0000000001F)) *
         4;
}

TEST(HashRingTest, TheTwentyFifthServerMovesNoKeyBetweenTheOthersAsItDoesInKetama) {
  ASSERT_EQ(KetamaPoints(24), 160u);
  ASSERT_EQ(KetamaPoints(25), 156u);
  const auto is_new = [](const std::string& id) { return id == "server24"; };
  // With ketama's numbers of points the 24 others lose points, and keys move between them.
  const Movement rescaled =
      Compare(Equal(24, KetamaPoints(24)), Equal(25, KetamaPoints(25)), is_new);
  EXPECT_GT(rescaled.collateral, 0.01);
  const Movement ours = Compare(Equal(24, 160), Equal(25, 160), is_new);
  EXPECT_EQ(ours.collateral, 0);
  EXPECT_NEAR(ours.moved, 1.0 / 25, 0.02);
}

}  // namespace
}  // namespace ballast
