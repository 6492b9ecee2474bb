// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/source_plan.h"

#include "common/types/error.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;

SourcePlan::Failure Failed(const absl::Status& status, bool idle = false, bool bytes = false) {
  return SourcePlan::Failure{.status = status, .connection_was_idle = idle, .got_bytes = bytes};
}

TEST(SourcePlanTest, AsksEachSourceOnceInOrderAndThenGivesUp) {
  SourcePlan plan({"a", "b", "c"});
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(plan.Next().has_value());
    EXPECT_EQ(plan.Next()->source, i);
    EXPECT_FALSE(plan.Next()->new_connection);
    plan.OnFailed(Failed(MakeError(v1::REASON_CHUNK_NOT_FOUND, "not here")));
  }
  EXPECT_FALSE(plan.Next().has_value());
  EXPECT_THAT(plan.GiveUp(256), HasReason(v1::REASON_COPY_FAILED));
  EXPECT_EQ(plan.GiveUp(256).message(), "a: not here; b: not here; c: not here");
}

TEST(SourcePlanTest, ADeadIdleConnectionIsReplacedOnce) {
  const absl::Status lost = absl::UnavailableError("connection reset");
  SourcePlan plan({"a", "b"});
  plan.OnFailed(Failed(lost, /*idle=*/true));
  EXPECT_EQ(plan.Next()->source, 0u);
  EXPECT_TRUE(plan.Next()->new_connection);
  plan.OnFailed(Failed(lost, /*idle=*/true));
  EXPECT_EQ(plan.Next()->source, 1u);
  EXPECT_FALSE(plan.Next()->new_connection);
  // Each source has this chance of its own.
  plan.OnFailed(Failed(lost, /*idle=*/true));
  EXPECT_EQ(plan.Next()->source, 1u);
  EXPECT_TRUE(plan.Next()->new_connection);
}

TEST(SourcePlanTest, OnlyADeadIdleConnectionIsAReasonToAskAgain) {
  const absl::Status lost = absl::UnavailableError("connection reset");
  for (const SourcePlan::Failure& failure :
       {Failed(lost), Failed(lost, true, true), Failed(absl::DeadlineExceededError("slow"), true),
        Failed(NotReadyError("stopping", absl::Seconds(1)), true)}) {
    SourcePlan plan({"a", "b"});
    plan.OnFailed(failure);
    EXPECT_EQ(plan.Next()->source, 1u) << failure.status;
  }
}

TEST(SourcePlanTest, ALongReasonLeavesRoomForTheOthers) {
  SourcePlan plan({"first:1", "second:2"});
  plan.OnFailed(Failed(absl::InternalError(std::string(10000, 'x'))));
  plan.OnFailed(Failed(absl::InternalError("why")));
  const std::string text(plan.GiveUp(100).message());
  EXPECT_LE(text.size(), 100u);
  EXPECT_NE(text.find("first:1: x"), std::string::npos);
  EXPECT_NE(text.find("second:2: why"), std::string::npos);
}

}  // namespace
}  // namespace ballast::chunkserver
