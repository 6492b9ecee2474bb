// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/status_bridge.h"

#include "common/types/error.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::HasReason;

TEST(StatusBridgeTest, EveryReasonSurvivesTheRoundTrip) {
  for (int r = v1::Reason_MIN; r <= v1::Reason_MAX; ++r) {
    if (!v1::Reason_IsValid(r) || r == v1::REASON_UNSPECIFIED) {
      continue;
    }
    const auto reason = static_cast<v1::Reason>(r);
    const absl::Status sent = MakeError(reason, "what happened");
    const absl::Status got = FromGrpc(ToGrpc(sent));
    EXPECT_EQ(got, sent) << ReasonName(reason);
    EXPECT_THAT(got, HasReason(reason));
    EXPECT_NE(got.code(), absl::StatusCode::kUnknown) << "no code for " << ReasonName(reason);
  }
}

TEST(StatusBridgeTest, HintsSurvive) {
  const auto detail = DetailOf(FromGrpc(ToGrpc(NotLeaderError("host:1"))));
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->leader_address(), "host:1");
}

TEST(StatusBridgeTest, ForeignAndHostileDetailsAreIgnored) {
  const std::string garbage("\x12\xff\xff\xff\xff\x0f nonsense", 15);
  const absl::Status got = FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken", garbage));
  EXPECT_EQ(got, absl::UnavailableError("broken"));
}

TEST(StatusBridgeTest, LongMessagesAreCut) {
  const grpc::Status sent = ToGrpc(InvalidArgument(std::string(100000, 'x')));
  EXPECT_LE(sent.error_message().size(), 1024u);
  EXPECT_LE(sent.error_details().size(), 4096u);
}

TEST(ErrorTest, DefiniteMeansItDidNotHappen) {
  EXPECT_TRUE(IsDefinite(NotLeaderError("")));
  EXPECT_TRUE(IsDefinite(MakeError(v1::REASON_GENERATION_MISMATCH, "")));
  EXPECT_TRUE(IsDefinite(absl::NotFoundError("from our server, without detail")));
  EXPECT_FALSE(IsDefinite(absl::UnavailableError("connection lost")));
  EXPECT_FALSE(IsDefinite(absl::DeadlineExceededError("")));
  EXPECT_FALSE(IsDefinite(MakeError(v1::REASON_OUTCOME_UNKNOWN, "")));
  EXPECT_FALSE(IsDefinite(MakeError(v1::REASON_SESSION_EXPIRED, "")));
}

}  // namespace
}  // namespace ballast
