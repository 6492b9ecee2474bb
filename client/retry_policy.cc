// SPDX-License-Identifier: Apache-2.0
#include "client/retry_policy.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::client {
namespace {

// Tries that may follow a routing hint without a pause. Two members that each name the other must
// not make the caller spin.
constexpr int kHintsWithoutWait = 3;

// Doubling more often than this would only overflow; wait_max cuts long before.
constexpr int kDoublingsMax = 30;

bool KnowsBetterAtOnce(const absl::Status& status) {
  const auto detail = DetailOf(status);
  if (!detail.has_value()) {
    return false;
  }
  return detail->reason() == v1::REASON_WRONG_GROUP ||
         (detail->reason() == v1::REASON_NOT_LEADER && !detail->leader_address().empty());
}

absl::Duration HintedWait(const absl::Status& status) {
  const auto detail = DetailOf(status);
  return detail.has_value() ? absl::Milliseconds(detail->retry_after_ms()) : absl::ZeroDuration();
}

}  // namespace

TryOutcome OutcomeOf(const absl::Status& status) {
  if (status.ok()) {
    return TryOutcome::kSuccess;
  }
  switch (ReasonOf(status)) {
    case v1::REASON_UNSPECIFIED:
      break;
    case v1::REASON_NOT_LEADER:
    case v1::REASON_WRONG_GROUP:
    case v1::REASON_NOT_READY:
    case v1::REASON_OVERLOADED:
    case v1::REASON_CHUNK_UNAVAILABLE:
    case v1::REASON_PEER_UNREACHABLE:
    case v1::REASON_CHAIN_FAILED:
      return TryOutcome::kNotExecuted;
    case v1::REASON_OUTCOME_UNKNOWN:
      return TryOutcome::kUnknown;
    default:
      return TryOutcome::kFinal;
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kResourceExhausted:
      return TryOutcome::kUnknown;
    default:
      return TryOutcome::kFinal;
  }
}

RetryDecision DecideRetry(const RetryLimits& limits, int tries, absl::Duration elapsed,
                          const absl::Status& status, Rng& rng) {
  CHECK_GE(tries, 1);
  CHECK(!status.ok());
  const TryOutcome outcome = OutcomeOf(status);
  if (outcome == TryOutcome::kFinal || (limits.tries_max > 0 && tries >= limits.tries_max)) {
    return {};
  }
  absl::Duration wait = absl::ZeroDuration();
  if (tries > kHintsWithoutWait || !KnowsBetterAtOnce(status)) {
    const int doublings = std::min(tries - 1, kDoublingsMax);
    const absl::Duration full =
        std::min(limits.first_wait * (int64_t{1} << doublings), limits.wait_max);
    wait = full * (0.5 + 0.5 * rng.Fraction());
  }
  wait = std::max(wait, HintedWait(status));
  if (elapsed + wait > limits.total) {
    return {};
  }
  return {true, wait};
}

}  // namespace ballast::client
