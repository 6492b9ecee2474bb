// SPDX-License-Identifier: Apache-2.0
#include "common/types/error.h"

#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ballast::testing::HasReason;
using ballast::testing::StatusIs;
using ::testing::AllOf;

std::vector<v1::Reason> AllReasons() {
  std::vector<v1::Reason> reasons;
  const auto* type = v1::Reason_descriptor();
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0) {
      reasons.push_back(static_cast<v1::Reason>(type->value(i)->number()));
    }
  }
  return reasons;
}

TEST(ErrorTest, EveryReasonHasACodeAndAName) {
  ASSERT_GT(AllReasons().size(), 20u);
  for (const v1::Reason reason : AllReasons()) {
    EXPECT_NE(CodeOf(reason), absl::StatusCode::kUnknown) << v1::Reason_Name(reason);
    EXPECT_NE(CodeOf(reason), absl::StatusCode::kOk) << v1::Reason_Name(reason);
    EXPECT_EQ("REASON_" + std::string(ReasonName(reason)), v1::Reason_Name(reason));
    const absl::Status made = MakeError(reason, "text");
    EXPECT_THAT(made, AllOf(StatusIs(CodeOf(reason)), HasReason(reason)));
    EXPECT_EQ(made.message(), "text");
  }
}

TEST(ErrorTest, ToleratesReasonsOfLaterReleases) {
  const auto future = static_cast<v1::Reason>(4711);
  EXPECT_EQ(ReasonName(future), "UNSPECIFIED");
  EXPECT_EQ(CodeOf(future), absl::StatusCode::kUnknown);
  EXPECT_THAT(MakeError(future, "?"), StatusIs(absl::StatusCode::kUnknown));
}

TEST(ErrorTest, CarriesItsHint) {
  EXPECT_EQ(DetailOf(NotLeaderError("h:1"))->leader_address(), "h:1");
  EXPECT_EQ(DetailOf(NotLeaderError(""))->hint_case(), v1::ErrorDetail::HINT_NOT_SET);
  EXPECT_EQ(DetailOf(WrongGroupError(7, "x"))->config_version(), 7u);
  EXPECT_EQ(DetailOf(NotReadyError("x", absl::Milliseconds(250)))->retry_after_ms(), 250u);
}

TEST(ErrorTest, ForeignStatusesHaveNoReason) {
  EXPECT_EQ(ReasonOf(absl::OkStatus()), v1::REASON_UNSPECIFIED);
  EXPECT_EQ(ReasonOf(absl::UnavailableError("x")), v1::REASON_UNSPECIFIED);
  absl::Status damaged = absl::AbortedError("x");
  damaged.SetPayload("type.googleapis.com/ballast.v1.ErrorDetail", absl::Cord("\xFF\xFF"));
  EXPECT_EQ(DetailOf(damaged), std::nullopt);
  EXPECT_EQ(ReasonOf(damaged), v1::REASON_UNSPECIFIED);
}

TEST(ErrorTest, OnlyUnknownOutcomesAreIndefiniteAmongOurOwn) {
  for (const v1::Reason reason : AllReasons()) {
    const bool unknown =
        reason == v1::REASON_OUTCOME_UNKNOWN || reason == v1::REASON_SESSION_EXPIRED;
    EXPECT_EQ(IsDefinite(MakeError(reason, "")), !unknown) << v1::Reason_Name(reason);
  }
}

TEST(ErrorTest, WhatATransportMayHaveMadeIsIndefinite) {
  for (const auto code : {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
                          absl::StatusCode::kCancelled, absl::StatusCode::kUnknown,
                          absl::StatusCode::kInternal, absl::StatusCode::kResourceExhausted}) {
    EXPECT_FALSE(IsDefinite(absl::Status(code, "")));
  }
  for (const auto code :
       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound,
        absl::StatusCode::kAlreadyExists, absl::StatusCode::kFailedPrecondition,
        absl::StatusCode::kAborted, absl::StatusCode::kOutOfRange, absl::StatusCode::kDataLoss}) {
    EXPECT_TRUE(IsDefinite(absl::Status(code, "")));
  }
}

}  // namespace
}  // namespace ballast
