// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/loss_breaker.h"

#include "gtest/gtest.h"

namespace ballast::master {
namespace {

SteadyTime At(double seconds) { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }

TEST(LossBreakerTest, OpensWhenThreeServersWithAQuarterOfTheCapacityFallSilentTogether) {
  LossBreaker breaker;
  breaker.OnDead(ServerIndex(1), 0.1, At(100), At(115));
  breaker.OnDead(ServerIndex(2), 0.1, At(130), At(145));
  EXPECT_FALSE(breaker.open());
  breaker.OnDead(ServerIndex(3), 0.1, At(159), At(174));
  EXPECT_TRUE(breaker.open());
  EXPECT_EQ(breaker.open_until(), At(774));
}

TEST(LossBreakerTest, StaysClosedForSmallOrSlowLosses) {
  LossBreaker few;
  few.OnDead(ServerIndex(1), 0.4, At(0), At(15));
  few.OnDead(ServerIndex(2), 0.4, At(0), At(15));
  EXPECT_FALSE(few.open()) << "two servers";
  LossBreaker small;
  for (uint32_t i = 1; i <= 10; ++i) small.OnDead(ServerIndex(i), 0.02, At(0), At(15));
  EXPECT_FALSE(small.open()) << "a fifth of the capacity";
  LossBreaker slow;
  for (uint32_t i = 1; i <= 10; ++i)
    slow.OnDead(ServerIndex(i), 0.1, At(i * 31.0), At(i * 31.0 + 15));
  EXPECT_FALSE(slow.open()) << "two in any minute";
}

TEST(LossBreakerTest, ClosesAfterItsTimeOrWhenAllAreBackOrByAnOperator) {
  const auto open = [](LossBreaker& breaker) {
    for (uint32_t i = 1; i <= 4; ++i) breaker.OnDead(ServerIndex(i), 0.1, At(0), At(15));
    EXPECT_TRUE(breaker.open());
  };
  LossBreaker timed;
  open(timed);
  timed.Tick(At(614.9));
  EXPECT_TRUE(timed.open());
  timed.Tick(At(615));
  EXPECT_FALSE(timed.open());
  LossBreaker back;
  open(back);
  for (uint32_t i = 1; i <= 3; ++i) back.OnBack(ServerIndex(i));
  EXPECT_TRUE(back.open());
  back.OnBack(ServerIndex(4));
  EXPECT_FALSE(back.open());
  LossBreaker released;
  open(released);
  released.Release();
  EXPECT_FALSE(released.open());
  released.OnDead(ServerIndex(5), 0.1, At(20), At(35));
  EXPECT_FALSE(released.open()) << "those known to the operator do not count again";
}

TEST(LossBreakerTest, AnotherDeathWhileOpenExtendsIt) {
  LossBreaker breaker;
  for (uint32_t i = 1; i <= 3; ++i) breaker.OnDead(ServerIndex(i), 0.1, At(0), At(15));
  breaker.OnDead(ServerIndex(9), 0.01, At(300), At(315));
  EXPECT_EQ(breaker.open_until(), At(915));
}

TEST(LossBreakerTest, AServerThatFlapsCountsOnce) {
  LossBreaker breaker;
  for (int i = 0; i < 5; ++i) breaker.OnDead(ServerIndex(1), 0.5, At(i), At(i + 15));
  EXPECT_EQ(breaker.silent_count(), 1u);
  EXPECT_FALSE(breaker.open());
}

}  // namespace
}  // namespace ballast::master
