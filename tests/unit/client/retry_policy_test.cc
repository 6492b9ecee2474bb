// SPDX-License-Identifier: Apache-2.0
#include "client/retry_policy.h"

#include "common/types/error.h"
#include "gtest/gtest.h"

namespace ballast::client {
namespace {

TEST(RetryPolicyTest, TellsDefiniteFromUnknown) {
  EXPECT_EQ(OutcomeOf(absl::OkStatus()), TryOutcome::kSuccess);
  EXPECT_EQ(OutcomeOf(absl::UnavailableError("lost")), TryOutcome::kUnknown);
  EXPECT_EQ(OutcomeOf(absl::DeadlineExceededError("late")), TryOutcome::kUnknown);
  EXPECT_EQ(OutcomeOf(absl::InternalError("stream")), TryOutcome::kUnknown);
  EXPECT_EQ(OutcomeOf(MakeError(v1::REASON_OUTCOME_UNKNOWN, "")), TryOutcome::kUnknown);
  EXPECT_EQ(OutcomeOf(NotLeaderError("a:1")), TryOutcome::kNotExecuted);
  EXPECT_EQ(OutcomeOf(NotReadyError("", absl::Seconds(1))), TryOutcome::kNotExecuted);
  EXPECT_EQ(OutcomeOf(WrongGroupError(3, "")), TryOutcome::kNotExecuted);
  EXPECT_EQ(OutcomeOf(MakeError(v1::REASON_OVERLOADED, "")), TryOutcome::kNotExecuted);
  EXPECT_EQ(OutcomeOf(MakeError(v1::REASON_GENERATION_MISMATCH, "")), TryOutcome::kFinal);
  EXPECT_EQ(OutcomeOf(MakeError(v1::REASON_SESSION_EXPIRED, "")), TryOutcome::kFinal);
  EXPECT_EQ(OutcomeOf(absl::UnimplementedError("old server")), TryOutcome::kFinal);
}

TEST(RetryPolicyTest, NeverRetriesFinalErrors) {
  Rng rng(1);
  EXPECT_FALSE(
      DecideRetry({}, 1, absl::ZeroDuration(), MakeError(v1::REASON_OBJECT_NOT_FOUND, ""), rng)
          .retry);
}

TEST(RetryPolicyTest, WaitsGrowWithJitterUpToTheirMaximum) {
  Rng rng(7);
  const RetryLimits limits{.total = absl::Hours(1),
                           .first_wait = absl::Milliseconds(10),
                           .wait_max = absl::Milliseconds(100)};
  absl::Duration full = absl::Milliseconds(10);
  for (int tries = 1; tries <= 40; ++tries) {
    const RetryDecision d =
        DecideRetry(limits, tries, absl::ZeroDuration(), absl::UnavailableError(""), rng);
    ASSERT_TRUE(d.retry);
    EXPECT_GE(d.wait, full / 2) << tries;
    EXPECT_LE(d.wait, full) << tries;
    full = std::min(full * 2, limits.wait_max);
  }
}

TEST(RetryPolicyTest, StopsBeforeTheTotalIsPassed) {
  Rng rng(1);
  const RetryLimits limits{.total = absl::Seconds(10), .first_wait = absl::Seconds(2)};
  EXPECT_TRUE(DecideRetry(limits, 1, absl::Seconds(8), absl::UnavailableError(""), rng).retry);
  EXPECT_FALSE(
      DecideRetry(limits, 1, absl::Milliseconds(9500), absl::UnavailableError(""), rng).retry);
}

TEST(RetryPolicyTest, StopsAfterTheLastTryAllowed) {
  Rng rng(1);
  const RetryLimits limits{.tries_max = 3};
  EXPECT_TRUE(DecideRetry(limits, 2, absl::ZeroDuration(), absl::UnavailableError(""), rng).retry);
  EXPECT_FALSE(DecideRetry(limits, 3, absl::ZeroDuration(), absl::UnavailableError(""), rng).retry);
}

TEST(RetryPolicyTest, HonoursTheServersRetryAfter) {
  Rng rng(1);
  const RetryDecision d =
      DecideRetry({}, 1, absl::ZeroDuration(), NotReadyError("starting", absl::Seconds(3)), rng);
  EXPECT_TRUE(d.retry);
  EXPECT_EQ(d.wait, absl::Seconds(3));
}

TEST(RetryPolicyTest, FollowsHintsAtOnceButNotForEver) {
  Rng rng(1);
  for (int tries = 1; tries <= 3; ++tries) {
    EXPECT_EQ(DecideRetry({}, tries, absl::ZeroDuration(), NotLeaderError("a:1"), rng).wait,
              absl::ZeroDuration());
  }
  EXPECT_GT(DecideRetry({}, 4, absl::ZeroDuration(), NotLeaderError("a:1"), rng).wait,
            absl::ZeroDuration());
  EXPECT_GT(DecideRetry({}, 1, absl::ZeroDuration(), NotLeaderError(""), rng).wait,
            absl::ZeroDuration());
}

}  // namespace
}  // namespace ballast::client
