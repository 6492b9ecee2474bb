// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/foreground_monitor.h"

#include <algorithm>
#include <functional>

#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace ballast::chunkserver {
namespace {

using Kind = ForegroundMonitor::Kind;

// Clients and background work in virtual time: every period some operations, as slow as `latency`
// says of the factor.
class World {
 public:
  using Latency = std::function<absl::Duration(double factor)>;

  void Run(absl::Duration span, size_t operations, bool background, const Latency& latency,
           Kind kind = Kind::kRead) {
    const SteadyTime end = now_ + span;
    while (now_ < end) {
      for (size_t i = 0; i < operations; ++i) {
        monitor.Add(kind, latency(background ? monitor.factor() : 0));
      }
      now_ = now_ + ForegroundMonitor::kPeriod;
      monitor.Decide(now_, background);
      lowest = std::min(lowest, monitor.factor());
      highest = std::max(highest, monitor.factor());
    }
  }
  void ForgetExtremes() { lowest = highest = monitor.factor(); }

  ForegroundMonitor monitor;
  double lowest = 1;
  double highest = 0;

 private:
  SteadyTime now_ = SteadyTime::FromOrigin(absl::Seconds(100));
};

World::Latency Always(absl::Duration latency) {
  return [latency](double) { return latency; };
}

TEST(ForegroundMonitorTest, LearnsWhatIsNormalWithoutBackgroundWork) {
  World world;
  EXPECT_EQ(world.monitor.normal(Kind::kRead), absl::ZeroDuration());
  world.Run(absl::Seconds(10), 50, false, Always(absl::Milliseconds(10)));
  EXPECT_NEAR(absl::ToDoubleMilliseconds(world.monitor.normal(Kind::kRead)), 10, 0.6);
  EXPECT_EQ(world.monitor.normal(Kind::kWrite), absl::ZeroDuration());
  world.Run(absl::Minutes(10), 50, false, Always(absl::Milliseconds(30)));
  EXPECT_NEAR(absl::ToDoubleMilliseconds(world.monitor.normal(Kind::kRead)), 30, 1.5);
}

TEST(ForegroundMonitorTest, HarmlessBackgroundWorkIsLeftAlone) {
  World world;
  world.Run(absl::Seconds(10), 50, false, Always(absl::Milliseconds(10)));
  world.Run(absl::Hours(1), 50, true, Always(absl::Milliseconds(11)));
  EXPECT_EQ(world.lowest, 1.0);
}

TEST(ForegroundMonitorTest, HalvesWithinTwoSecondsOfABreach) {
  for (const size_t operations : {10, 30, 500}) {
    World world;
    world.Run(absl::Seconds(20), operations, false, Always(absl::Milliseconds(10)));
    world.Run(absl::Seconds(2), operations, true, Always(absl::Milliseconds(100)));
    EXPECT_LE(world.monitor.factor(), 0.5) << operations;
    world.Run(absl::Seconds(5), operations, true, Always(absl::Milliseconds(100)));
    EXPECT_DOUBLE_EQ(world.lowest, ForegroundMonitor::kFactorMin) << operations;
  }
}

TEST(ForegroundMonitorTest, FastReadsAreSparedToo) {
  World world;
  world.Run(absl::Seconds(20), 200, false, Always(absl::Milliseconds(1)));
  world.Run(absl::Seconds(4), 200, true, Always(absl::Milliseconds(2)));
  EXPECT_LE(world.monitor.factor(), 0.6);
}

TEST(ForegroundMonitorTest, EitherKindCanCut) {
  World world;
  world.Run(absl::Seconds(10), 200, false, Always(absl::Milliseconds(2)), Kind::kRead);
  world.Run(absl::Seconds(10), 200, false, Always(absl::Milliseconds(50)), Kind::kWrite);
  world.Run(absl::Seconds(5), 200, true, Always(absl::Milliseconds(50)), Kind::kWrite);
  EXPECT_EQ(world.lowest, 1.0) << "what is slow for a read is normal for a write";
  world.Run(absl::Seconds(2), 200, true, Always(absl::Milliseconds(200)), Kind::kWrite);
  EXPECT_LE(world.monitor.factor(), 0.5);
}

TEST(ForegroundMonitorTest, RecoversWhenLatencyFalls) {
  World world;
  world.Run(absl::Seconds(10), 50, false, Always(absl::Milliseconds(10)));
  world.Run(absl::Seconds(4), 200, true, Always(absl::Milliseconds(100)));
  ASSERT_LE(world.monitor.factor(), 0.2);
  world.Run(absl::Seconds(12), 200, true, Always(absl::Milliseconds(10)));
  EXPECT_DOUBLE_EQ(world.monitor.factor(), 1.0);
}

TEST(ForegroundMonitorTest, RecoversWhenTheClientsAreGone) {
  World world;
  world.Run(absl::Seconds(10), 50, false, Always(absl::Milliseconds(10)));
  // Not a multiple of two seconds: the windows of reads and writes end at different times.
  world.Run(absl::Seconds(5.5), 200, true, Always(absl::Milliseconds(100)));
  ASSERT_LE(world.monitor.factor(), 0.2);
  world.Run(absl::Seconds(10), 0, true, Always(absl::ZeroDuration()));
  EXPECT_DOUBLE_EQ(world.monitor.factor(), 1.0) << "nobody is to be spared";
}

TEST(ForegroundMonitorTest, SettlesInsteadOfSwinging) {
  for (const double harm : {0.5, 1.0, 3.0, 10.0}) {
    for (const double noise : {0.0, 0.05}) {
      Rng rng(3);
      World world;
      const World::Latency latency = [&](double factor) {
        const double jitter = 1 + noise * (static_cast<double>(rng.Below(2001)) / 1000 - 1);
        return absl::Milliseconds(20) * ((1 + harm * factor) * jitter);
      };
      world.Run(absl::Seconds(30), 150, false, latency);
      world.Run(absl::Minutes(1), 150, true, latency);
      world.ForgetExtremes();
      world.Run(absl::Minutes(10), 150, true, latency);
      EXPECT_LE(world.highest - world.lowest, noise == 0 ? 0.051 : 0.15) << harm << " " << noise;
      EXPECT_LT(world.highest, 1.0) << harm;
      if (harm > 3) {
        continue;  // a tenth is left however much it harms
      }
      // And clients are served nearly as well as without.
      const double p99 = 20 * (1 + harm * world.highest) * (1 + noise);
      EXPECT_LE(p99, 20 * 1.3 * 1.2 + 2) << harm << " " << noise;
    }
  }
}

TEST(ForegroundMonitorTest, LatencyThatBackgroundWorkDoesNotCauseBecomesNormal) {
  World world;
  world.Run(absl::Seconds(10), 50, false, Always(absl::Milliseconds(10)));
  // Now the clients themselves ask for more.
  world.Run(absl::Minutes(10), 50, true, Always(absl::Milliseconds(40)));
  EXPECT_DOUBLE_EQ(world.monitor.factor(), 1.0);
}

TEST(ForegroundMonitorTest, WithoutKnowingWhatIsNormalItBeginsLow) {
  World world;
  world.Run(absl::Seconds(3), 50, true, Always(absl::Milliseconds(10)));
  EXPECT_DOUBLE_EQ(world.lowest, ForegroundMonitor::kFactorMin);
  world.Run(absl::Seconds(30), 50, true, Always(absl::Milliseconds(10)));
  EXPECT_DOUBLE_EQ(world.monitor.factor(), 1.0);
}

TEST(ForegroundMonitorTest, OneSlowOperationAmongFewIsNoBreach) {
  World world;
  world.Run(absl::Seconds(30), 30, false, Always(absl::Milliseconds(10)));
  world.Run(absl::Seconds(10), 30, true, Always(absl::Milliseconds(10)));
  world.monitor.Add(Kind::kRead, absl::Seconds(5));
  world.Run(absl::Seconds(10), 30, true, Always(absl::Milliseconds(10)));
  EXPECT_EQ(world.lowest, 1.0);
}

TEST(BackedOffRateTest, CutsWhatReallyMovesNotOnlyTheLimit) {
  EXPECT_EQ(BackedOffRate(50'000'000, 20'000'000, 1), 50'000'000u);
  EXPECT_EQ(BackedOffRate(0, 20'000'000, 1), 0u) << "no limit";
  EXPECT_EQ(BackedOffRate(50'000'000, 20'000'000, 0.5), 10'000'000u);
  EXPECT_EQ(BackedOffRate(0, 80'000'000, 0.5), 40'000'000u);
  EXPECT_EQ(BackedOffRate(10'000'000, 80'000'000, 0.5), 5'000'000u);
}

TEST(BackedOffRateTest, NeverStopsAndNeverExceedsTheLimit) {
  EXPECT_EQ(BackedOffRate(0, 0, 0.1), 400'000u);
  EXPECT_EQ(BackedOffRate(1'000'000, 0, 0.1), 100'000u);
  EXPECT_EQ(BackedOffRate(1, 0, 0.1), 1u);
  for (const double factor : {0.0, 0.1, 0.5, 0.99}) {
    EXPECT_LE(BackedOffRate(7'000'000, 900'000'000, factor), 7'000'000u);
    EXPECT_GT(BackedOffRate(0, 0, factor), 0u);
  }
}

}  // namespace
}  // namespace ballast::chunkserver
