// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/heat.h"

#include "gtest/gtest.h"
#include "services/master/core/chunk_table.h"

namespace ballast::master {
namespace {

TEST(HeatTest, CodesKeepTheirOrderAndComeBack) {
  double last = -1;
  for (int code = 0; code < 256; ++code) {
    const double heat = HeatOfCode(static_cast<uint8_t>(code));
    EXPECT_GT(heat, last);
    EXPECT_EQ(HeatCode(heat), code);
    last = heat;
  }
  EXPECT_EQ(HeatCode(0), 0);
  EXPECT_EQ(HeatCode(1), 8);
  EXPECT_EQ(HeatCode(100), 53);
  EXPECT_EQ(HeatCode(1e30), 255);
}

TEST(HeatTest, AHalfLifeHalvesAndEveryChunkCoolsDownInTheEnd) {
  EXPECT_NEAR(HeatOfCode(DecayedHeat(HeatCode(1000), 1)), 500, 50);
  EXPECT_NEAR(HeatOfCode(DecayedHeat(HeatCode(1000), 3)), 125, 25);
  for (int code = 0; code < 256; ++code) {
    EXPECT_EQ(DecayedHeat(static_cast<uint8_t>(code), 64), 0) << code;
    EXPECT_EQ(DecayedHeat(static_cast<uint8_t>(code), 0), code);
  }
}

TEST(HeatTest, SingleReadsOfAHotChunkCountOnAverage) {
  Rng rng(1);
  double sum = 0;
  constexpr int kRuns = 200;
  for (int run = 0; run < kRuns; ++run) {
    uint8_t code = 0;
    for (int i = 0; i < 1000; ++i) code = HeatedBy(code, 1, rng);
    sum += HeatOfCode(code);
  }
  EXPECT_NEAR(sum / kRuns, 1000, 100);
}

TEST(HeatTest, ManyReadsAtOnceCountAsMany) {
  Rng rng(2);
  EXPECT_NEAR(HeatOfCode(HeatedBy(0, 1'000'000, rng)), 1e6, 1e5);
  EXPECT_EQ(HeatedBy(255, ~uint64_t{0}, rng), 255);
}

TEST(HeatTest, ATablesHeatDecaysByPagesAndIsForgottenWithTheLiveView) {
  Rng rng(3);
  ChunkTable table;
  table.Insert(5, {1000, Crc32c{1}, 3}, {});
  table.Insert(600, {1000, Crc32c{1}, 3}, {});
  EXPECT_TRUE(table.AddReads(5, 1000, 10, rng));
  EXPECT_TRUE(table.AddReads(600, 1000, 10, rng));
  EXPECT_FALSE(table.AddReads(7, 1, 10, rng));
  const uint8_t hot = table.Find(5)->heat();
  table.DecayHeat(0, 256, 11);
  EXPECT_EQ(table.Find(5)->heat(), DecayedHeat(hot, 1));
  EXPECT_EQ(table.Find(600)->heat(), hot);
  table.DecayHeat(0, 1000, 11);
  EXPECT_EQ(table.Find(600)->heat(), DecayedHeat(hot, 1));
  table.DecayHeat(0, 1000, 11);
  EXPECT_EQ(table.Find(600)->heat(), DecayedHeat(hot, 1)) << "twice in one epoch";
  table.Find(5)->ClearLiveView();
  EXPECT_EQ(table.Find(5)->heat(), 0);
  EXPECT_EQ(table.Find(5)->wanted_replicas(), 3u);
}

}  // namespace
}  // namespace ballast::master
