// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// Matchers with Abseil's later names: IsOk(), IsOkAndHolds(m), StatusIs(code), and our own
// HasReason(reason). They accept absl::Status and absl::StatusOr<T>.

namespace ballast::testing {

inline const absl::Status& GetStatus(const absl::Status& s) { return s; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& s) {
  return s.status();
}

MATCHER(IsOk, negation ? "is not OK" : "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

MATCHER_P(StatusIs, code, "") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code;
}

// The error carries this ballast.v1.Reason.
MATCHER_P(HasReason, reason, "") {
  *result_listener << GetStatus(arg).ToString();
  return ReasonOf(GetStatus(arg)) == reason;
}

MATCHER_P(IsOkAndHolds, inner, "") {
  if (!arg.ok()) {
    *result_listener << arg.status().ToString();
    return false;
  }
  return ::testing::ExplainMatchResult(::testing::SafeMatcherCast<const decltype(*arg)&>(inner),
                                       *arg, result_listener);
}

}  // namespace ballast::testing

#define ASSERT_OK(expr) ASSERT_THAT((expr), ::ballast::testing::IsOk())
#define EXPECT_OK(expr) EXPECT_THAT((expr), ::ballast::testing::IsOk())

// ASSERT_OK_AND_ASSIGN(auto file, fs.Open(path));
#define BALLAST_ASSERT_OK_AND_ASSIGN(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  ASSERT_THAT(tmp, ::ballast::testing::IsOk());      \
  lhs = *std::move(tmp)
#define BALLAST_TEST_CONCAT_INNER(a, b) a##b
#define BALLAST_TEST_CONCAT(a, b) BALLAST_TEST_CONCAT_INNER(a, b)
#define ASSERT_OK_AND_ASSIGN(lhs, expr) \
  BALLAST_ASSERT_OK_AND_ASSIGN(BALLAST_TEST_CONCAT(ballast_or_, __LINE__), lhs, expr)
