// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_scheduler.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::testing {
namespace {

using ::testing::ElementsAre;

TEST(SimSchedulerTest, EventsRunInTheOrderOfTimeThenOfScheduling) {
  SimScheduler world(1);
  std::vector<int> order;
  world.At(absl::Seconds(2), [&] { order.push_back(3); });
  world.At(absl::Seconds(1), [&] { order.push_back(1); });
  world.At(absl::Seconds(1), [&] { order.push_back(2); });
  world.At(absl::ZeroDuration(), [&] { order.push_back(0); });
  while (world.Step()) {
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(world.SteadyNow() - SteadyTime(), absl::Seconds(2));
  EXPECT_EQ(world.steps(), 4u);
}

TEST(SimSchedulerTest, RunForAdvancesTheClockExactly) {
  SimScheduler world(1);
  int ran = 0;
  world.At(absl::Seconds(10), [&] { ++ran; });
  world.RunFor(absl::Seconds(9));
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(world.SteadyNow() - SteadyTime(), absl::Seconds(9));
  world.RunFor(absl::Seconds(1));
  EXPECT_EQ(ran, 1) << "an event at the very end belongs to the span";
  EXPECT_EQ(world.SteadyNow() - SteadyTime(), absl::Seconds(10));
}

TEST(SimSchedulerTest, RunUntilTrueStopsAtOnceOrAtTheLimit) {
  SimScheduler world(1);
  bool done = false;
  world.At(absl::Seconds(3), [&] { done = true; });
  world.At(absl::Seconds(4), [] { FAIL(); });
  EXPECT_FALSE(world.RunUntilTrue([&] { return done; }, absl::Seconds(1)));
  EXPECT_TRUE(world.RunUntilTrue([&] { return done; }, absl::Seconds(5)));
  EXPECT_EQ(world.SteadyNow() - SteadyTime(), absl::Seconds(3));
}

TEST(SimSchedulerTest, OnlyTheWallClockJumps) {
  SimScheduler world(1);
  const absl::Time wall = world.WallNow();
  const SteadyTime steady = world.SteadyNow();
  world.JumpWallClock(-absl::Hours(1));
  EXPECT_EQ(world.WallNow(), wall - absl::Hours(1));
  EXPECT_EQ(world.SteadyNow(), steady);
}

TEST(SimExecutorTest, KeepsPostingOrderWhateverTheJitter) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SimScheduler world(seed);
    const auto executor = world.MakeExecutor(absl::Milliseconds(5));
    std::vector<int> order;
    for (int i = 0; i < 50; ++i) {
      executor->Post([&order, i] { order.push_back(i); });
    }
    world.RunFor(absl::Seconds(1));
    ASSERT_EQ(order.size(), 50u);
    for (int i = 0; i < 50; ++i) {
      ASSERT_EQ(order[i], i) << "seed " << seed;
    }
  }
}

TEST(SimExecutorTest, NeverRunsATaskInsidePost) {
  SimScheduler world(1);
  const auto executor = world.MakeExecutor();
  bool ran = false;
  executor->Post([&] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_TRUE(world.Step());
  EXPECT_TRUE(ran);
}

TEST(SimExecutorTest, TimersRunOnTimeAndCancelledOnesNever) {
  SimScheduler world(1);
  const auto executor = world.MakeExecutor();
  std::vector<int> order;
  executor->RunAfter(absl::Seconds(2), [&] { order.push_back(2); });
  const auto cancelled = executor->RunAfter(absl::Seconds(1), [&] { order.push_back(9); });
  executor->RunAfter(absl::Seconds(1), [&] {
    order.push_back(1);
    executor->Cancel(12345);
  });
  executor->Cancel(cancelled);
  executor->Cancel(cancelled);
  world.RunFor(absl::Seconds(3));
  EXPECT_THAT(order, ElementsAre(1, 2));
}

TEST(SimExecutorTest, ATimerDueInTheSameInstantCanBeCancelled) {
  SimScheduler world(1);
  const auto executor = world.MakeExecutor();
  Executor::TimerId second = 0;
  executor->RunAfter(absl::Seconds(1), [&] { executor->Cancel(second); });
  second = executor->RunAfter(absl::Seconds(1), [] { FAIL(); });
  world.RunFor(absl::Seconds(2));
}

TEST(SimExecutorTest, DestructionDropsItsTasksAndNoOthers) {
  SimScheduler world(1);
  auto doomed = world.MakeExecutor();
  const auto other = world.MakeExecutor();
  auto token = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = token;
  bool ran = false;
  doomed->Post([token = std::move(token)] { FAIL(); });
  doomed->RunAfter(absl::Seconds(1), [] { FAIL(); });
  other->Post([&] { ran = true; });
  doomed.reset();
  EXPECT_TRUE(alive.expired());
  world.RunFor(absl::Seconds(2));
  EXPECT_TRUE(ran);
}

TEST(SimExecutorTest, ATaskMayDestroyItsOwnExecutor) {
  SimScheduler world(1);
  auto executor = world.MakeExecutor();
  executor->Post([&] { executor.reset(); });
  executor->Post([] { FAIL(); });
  world.RunFor(absl::Seconds(1));
}

// Three executors that post to each other at random for a while; the trace is who ran when.
std::string Trace(uint64_t seed) {
  SimScheduler world(seed);
  std::vector<std::unique_ptr<Executor>> executors;
  for (int i = 0; i < 3; ++i) {
    executors.push_back(world.MakeExecutor(absl::Milliseconds(3)));
  }
  std::string trace;
  int left = 300;
  std::function<void(size_t)> hop = [&](size_t at) {
    trace += std::to_string(at) + "@" +
             std::to_string(absl::ToInt64Microseconds(world.SteadyNow().SinceOrigin())) + " ";
    if (--left > 0) {
      const size_t next = world.rng().Below(3);
      executors[next]->Post([&hop, next] { hop(next); });
      if (world.rng().OneIn(4)) {
        executors[at]->RunAfter(absl::Milliseconds(1), [&hop, at] { hop(at); });
      }
    }
  };
  executors[0]->Post([&] { hop(0); });
  world.RunFor(absl::Seconds(5));
  return trace;
}

TEST(SimSchedulerTest, SameSeedSameTraceOtherSeedOtherTrace) {
  EXPECT_EQ(Trace(17), Trace(17));
  EXPECT_NE(Trace(17), Trace(18));
  EXPECT_GT(Trace(17).size(), 1000u);
}

}  // namespace
}  // namespace ballast::testing
