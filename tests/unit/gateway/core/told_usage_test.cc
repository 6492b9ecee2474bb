// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/told_usage.h"

#include "common/base/byte_units.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using ::testing::DoubleNear;

constexpr ServerIndex kOne(1), kTwo(2);
constexpr uint64_t kChunk = MiB(64);

TEST(ToldUsageTest, AServerIsAsLargeAsItsListAndItsPercentageSay) {
  ToldUsage usage(kChunk, TiB(1));
  const auto told = usage.OnTold(kOne, 75, {.listed = 3});
  EXPECT_EQ(told.capacity_bytes, 4 * kChunk);
  EXPECT_EQ(told.utilization_pct, 75);
}

TEST(ToldUsageTest, OneThatListsNothingIsAsLargeAsTheOthers) {
  ToldUsage usage(kChunk, TiB(1));
  EXPECT_EQ(usage.OnTold(kTwo, 15, {}).capacity_bytes, TiB(1));
  usage.OnTold(kOne, 50, {.listed = 2});
  const auto told = usage.OnTold(kTwo, 15, {});
  EXPECT_EQ(told.capacity_bytes, 4 * kChunk);
  EXPECT_EQ(told.utilization_pct, 15);
}

TEST(ToldUsageTest, WhatCommandsChangedAndWordsDoNotTellYetCounts) {
  ToldUsage usage(kChunk, TiB(1));
  EXPECT_THAT(usage.OnTold(kOne, 80, {.listed = 4, .deleted_untold = 1}).utilization_pct,
              DoubleNear(60, 1e-6));
  EXPECT_THAT(usage.OnTold(kTwo, 10, {.received_untold = 1}).utilization_pct, DoubleNear(30, 1e-6));
  EXPECT_EQ(usage.OnTold(kOne, 60, {.listed = 3}).utilization_pct, 60);  // it has caught up
}

TEST(ToldUsageTest, StrangePercentagesAreTakenForTheNearest) {
  ToldUsage usage(kChunk, TiB(1));
  EXPECT_EQ(usage.OnTold(kOne, -3, {.listed = 1}).utilization_pct, 0);
  EXPECT_EQ(usage.OnTold(kOne, 250, {.listed = 1}).utilization_pct, 100);
  EXPECT_EQ(usage.OnTold(kOne, 100, {.listed = 1, .received_untold = 5}).utilization_pct, 100);
}

}  // namespace
}  // namespace ballast::gateway
