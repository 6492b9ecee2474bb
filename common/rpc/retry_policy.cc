// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/retry_policy.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast {
namespace {

constexpr int kHintsInARowMax = 3;

}  // namespace

bool IsRetryable(const absl::Status& status) {
  if (ReasonOf(status) != v1::REASON_UNSPECIFIED) {
    return status.code() == absl::StatusCode::kUnavailable ||
           ReasonOf(status) == v1::REASON_OVERLOADED;
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:  // the server is shutting down
    case absl::StatusCode::kInternal:   // a broken stream
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

Backoff::Backoff(absl::Duration min, absl::Duration max, uint64_t seed)
    : min_(min), max_(max), next_(min), rng_(seed) {
  CHECK_GT(min, absl::ZeroDuration());
  CHECK_LE(min, max);
}

absl::Duration Backoff::Next(const absl::Status& failure) {
  const absl::Duration pause = next_ * (1.0 - rng_.Fraction() / 2);
  next_ = std::min(next_ * 2, max_);
  const auto detail = DetailOf(failure);
  return detail.has_value() && detail->hint_case() == v1::ErrorDetail::kRetryAfterMs
             ? std::max(pause, absl::Milliseconds(detail->retry_after_ms()))
             : pause;
}

LeaderRoute::LeaderRoute(std::vector<std::string> addresses) : addresses_(std::move(addresses)) {
  CHECK(!addresses_.empty());
  current_ = addresses_.front();
}

void LeaderRoute::OnSuccess() {
  failures_ = 0;
  hints_ = 0;
}

bool LeaderRoute::OnFailure(const absl::Status& failure) {
  const auto detail = DetailOf(failure);
  if (detail.has_value() && detail->reason() == v1::REASON_NOT_LEADER &&
      !detail->leader_address().empty() && detail->leader_address() != current_ &&
      hints_ < kHintsInARowMax) {
    ++hints_;
    current_ = detail->leader_address();
    return true;
  }
  hints_ = 0;
  position_ = (position_ + 1) % addresses_.size();
  current_ = addresses_[position_];
  if (++failures_ < addresses_.size()) {
    return true;
  }
  failures_ = 0;
  return false;
}

}  // namespace ballast
