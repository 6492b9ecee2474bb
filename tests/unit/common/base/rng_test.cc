// SPDX-License-Identifier: Apache-2.0
#include "common/base/rng.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

using ::testing::ElementsAre;

std::vector<uint64_t> Draw(uint64_t seed, int n) {
  Rng rng(seed);
  std::vector<uint64_t> draws;
  for (int i = 0; i < n; ++i) {
    draws.push_back(rng.Next());
  }
  return draws;
}

// Computed by an independent implementation of xoshiro256** and splitmix64. A seed that somebody
// wrote down must replay for ever.
TEST(RngTest, SequencesAreFixedForEver) {
  EXPECT_THAT(Draw(0, 4), ElementsAre(0x99EC5F36CB75F2B4, 0xBF6E1F784956452A, 0x1A5F849D4933E6E0,
                                      0x6AA594F1262D2D2C));
  EXPECT_THAT(Draw(42, 4), ElementsAre(0x15780B2E0C2EC716, 0x6104D9866D113A7E, 0xAE17533239E499A1,
                                       0xECB8AD4703B360A1));
  EXPECT_THAT(Draw(~uint64_t{0}, 4), ElementsAre(0x8F5520D52A7EAD08, 0xC476A018CAA1802D,
                                                 0x81DE31C0D260469E, 0xBF658D7E065F3C2F));
}

TEST(RngTest, BoundsAreExact) {
  Rng rng(5);
  std::vector<int> seen(3, 0);
  for (int i = 0; i < 3000; ++i) {
    ++seen.at(rng.Below(3));
    EXPECT_EQ(rng.Below(1), 0u);
    const uint64_t between = rng.Between(10, 12);
    EXPECT_TRUE(between >= 10 && between <= 12);
    EXPECT_EQ(rng.Between(9, 9), 9u);
    const double fraction = rng.Fraction();
    EXPECT_TRUE(fraction >= 0 && fraction < 1);
  }
  for (const int count : seen) {
    EXPECT_GT(count, 900);
  }
}

TEST(RngTest, BoundsNearTheTopOfTheRangeAreUniform) {
  // A biased "draw % bound" would put two thirds of the draws below 2^62 here.
  Rng rng(6);
  const uint64_t bound = (uint64_t{3} << 62);
  int low = 0;
  for (int i = 0; i < 3000; ++i) {
    const uint64_t draw = rng.Below(bound);
    ASSERT_LT(draw, bound);
    low += draw < bound / 3 ? 1 : 0;
  }
  EXPECT_GT(low, 900);
  EXPECT_LT(low, 1100);
}

TEST(RngTest, BetweenCoversTheWholeRange) {
  Rng rng(7);
  Rng same(7);
  EXPECT_EQ(rng.Between(0, ~uint64_t{0}), same.Next());
  EXPECT_EQ(rng.Between(~uint64_t{0}, ~uint64_t{0}), ~uint64_t{0});
}

TEST(RngDeathTest, RefusesEmptyRanges) {
  Rng rng(8);
  EXPECT_DEATH(rng.Below(0), "bound > 0");
  EXPECT_DEATH(rng.Between(2, 1), "low <= high");
}

}  // namespace
}  // namespace ballast
