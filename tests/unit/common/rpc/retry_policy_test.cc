// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/retry_policy.h"

#include "common/types/error.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

TEST(RetryPolicyTest, DefiniteErrorsAreNotRetried) {
  EXPECT_FALSE(IsRetryable(InvalidArgument("no")));
  EXPECT_FALSE(IsRetryable(MakeError(v1::REASON_WRONG_CLUSTER, "no")));
  EXPECT_FALSE(IsRetryable(MakeError(v1::REASON_REGISTRY_FULL, "no")));
  EXPECT_FALSE(IsRetryable(absl::UnimplementedError("no such service here")));
}

TEST(RetryPolicyTest, TransportErrorsAndLeaderChangesAreRetried) {
  EXPECT_TRUE(IsRetryable(absl::UnavailableError("refused")));
  EXPECT_TRUE(IsRetryable(absl::DeadlineExceededError("slow")));
  EXPECT_TRUE(IsRetryable(NotLeaderError("")));
  EXPECT_TRUE(IsRetryable(MakeError(v1::REASON_OVERLOADED, "full")));
}

TEST(BackoffTest, DoublesUpToItsMaximumAndIsShortenedByAtMostHalf) {
  Backoff backoff(absl::Milliseconds(20), absl::Milliseconds(100), 1);
  for (const int full : {20, 40, 80, 100, 100}) {
    const absl::Duration pause = backoff.Next(absl::UnavailableError(""));
    EXPECT_LE(pause, absl::Milliseconds(full));
    EXPECT_GE(pause, absl::Milliseconds(full) / 2);
  }
  backoff.Reset();
  EXPECT_LE(backoff.Next(absl::UnavailableError("")), absl::Milliseconds(20));
}

TEST(BackoffTest, WaitsAsLongAsTheServerAsks) {
  Backoff backoff(absl::Milliseconds(20), absl::Milliseconds(100), 1);
  EXPECT_EQ(backoff.Next(NotReadyError("starting", absl::Seconds(3))), absl::Seconds(3));
}

TEST(LeaderRouteTest, PausesOnlyAfterEveryAddressFailed) {
  LeaderRoute route({"a:1", "b:1", "c:1"});
  EXPECT_EQ(route.current(), "a:1");
  EXPECT_TRUE(route.OnFailure(absl::UnavailableError("")));
  EXPECT_EQ(route.current(), "b:1");
  EXPECT_TRUE(route.OnFailure(absl::UnavailableError("")));
  EXPECT_EQ(route.current(), "c:1");
  EXPECT_FALSE(route.OnFailure(absl::UnavailableError("")));
  EXPECT_EQ(route.current(), "a:1");
}

TEST(LeaderRouteTest, FollowsAHintAtOnceAndStaysThere) {
  LeaderRoute route({"a:1", "b:1", "c:1"});
  EXPECT_TRUE(route.OnFailure(NotLeaderError("c:1")));
  EXPECT_EQ(route.current(), "c:1");
  route.OnSuccess();
  EXPECT_EQ(route.current(), "c:1");
}

TEST(LeaderRouteTest, HintsThatChaseEachOtherEndInAPause) {
  LeaderRoute route({"a:1", "b:1"});
  int tries = 0;
  while (route.OnFailure(NotLeaderError(route.current() == "a:1" ? "b:1" : "a:1"))) {
    ASSERT_LT(++tries, 20);
  }
}

}  // namespace
}  // namespace ballast
