// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/copy_lanes.h"

#include <deque>
#include <utility>

#include "common/base/byte_units.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace ballast::master {
namespace {

constexpr uint64_t kRate = 60'000'000;

SteadyTime At(absl::Duration since) { return SteadyTime() + absl::Hours(1) + since; }

TEST(CopyLanesTest, WithoutALimitNothingEverWaits) {
  CopyLanes lanes;
  lanes.Set(0, 4, At({}));
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(lanes.TryBegin(MiB(64), At({})), 250'000u);
  }
  EXPECT_FALSE(lanes.NextFree(At({})).has_value());
}

TEST(CopyLanesTest, ALaneIsFreeWhenTheBytesMustHaveGone) {
  CopyLanes lanes;
  lanes.Set(kRate, 2, At({}));
  EXPECT_TRUE(lanes.TryBegin(30'000'000, At({})).has_value());
  EXPECT_TRUE(lanes.TryBegin(15'000'000, At({})).has_value());
  EXPECT_FALSE(lanes.TryBegin(1, At({})).has_value());
  EXPECT_EQ(lanes.NextFree(At({})), At(absl::Milliseconds(500) + CopyLanes::kMargin));
  EXPECT_TRUE(lanes.TryBegin(1000, At(absl::Milliseconds(502))).has_value());
}

TEST(CopyLanesTest, FewerLanesKeepTheBusyOnes) {
  CopyLanes lanes;
  lanes.Set(kRate, 4, At({}));
  EXPECT_TRUE(lanes.TryBegin(MiB(64), At({})).has_value());
  lanes.Set(kRate, 1, At({}));
  EXPECT_FALSE(lanes.TryBegin(1, At({})).has_value());
}

TEST(CopyLanesTest, AChangedRateHoldsForLanesThatAreBusy) {
  const SteadyTime half = At(absl::Milliseconds(500));
  const auto free_after = [&](uint64_t rate) {
    CopyLanes lanes;
    lanes.Set(kRate, 1, At({}));
    EXPECT_TRUE(lanes.TryBegin(kRate, At({})).has_value());  // for a second
    lanes.Set(rate, 1, half);
    lanes.Set(rate, 1, half);  // nothing new
    return lanes.NextFree(half).value_or(half) - half;
  };
  const absl::Duration left = absl::Milliseconds(500) + CopyLanes::kMargin;
  EXPECT_EQ(free_after(kRate), left);
  EXPECT_EQ(free_after(kRate * 100), left / 100);
  EXPECT_EQ(free_after(kRate / 100), left * 100);
  EXPECT_EQ(free_after(0), absl::ZeroDuration());
  CopyLanes lanes;
  lanes.Set(kRate / 1000, 1, At({}));
  EXPECT_TRUE(lanes.TryBegin(kRate, At({})).has_value());
  lanes.Set(0, 1, half);
  lanes.Set(kRate, 1, half);
  EXPECT_TRUE(lanes.TryBegin(1, half).has_value()) << "without a limit it has gone at once";
}

// Copies of any length, offered a little late as by timers and turns of an executor: the rate is
// used, and in no second is much more begun.
TEST(CopyLanesTest, TheRateIsUsedAndKeptWhateverTheLengthOfCopies) {
  for (const uint64_t bytes : {KiB(8), KiB(64), KiB(512), MiB(4), MiB(16)}) {
    for (const uint32_t count : {1u, 4u, 16u}) {
      SCOPED_TRACE(bytes);
      SCOPED_TRACE(count);
      Rng rng(bytes + count);
      CopyLanes lanes;
      lanes.Set(kRate, count, At({}));
      absl::Duration now;
      uint64_t begun = 0;
      std::deque<std::pair<absl::Duration, uint64_t>> last_second;
      uint64_t in_last_second = 0;
      uint64_t most = 0;
      const absl::Duration end = absl::Seconds(30);
      while (now < end) {
        while (lanes.TryBegin(bytes, At(now)).has_value()) {
          begun += bytes;
          last_second.emplace_back(now, bytes);
          in_last_second += bytes;
          while (last_second.front().first <= now - absl::Seconds(1)) {
            in_last_second -= last_second.front().second;
            last_second.pop_front();
          }
          most = std::max(most, in_last_second);
        }
        now = *lanes.NextFree(At(now)) - At({}) + absl::Microseconds(rng.Between(0, 3000));
      }
      const double second = kRate;
      EXPECT_GE(static_cast<double>(begun), 0.97 * 30 * second);
      EXPECT_LE(static_cast<double>(begun),
                1.01 * 30 * second + static_cast<double>(count * bytes));
      EXPECT_LE(static_cast<double>(most), 1.02 * second + static_cast<double>(count * bytes));
    }
  }
}

}  // namespace
}  // namespace ballast::master
