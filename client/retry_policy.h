// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/rng.h"

// When and whether to try a failed call again. Pure: no clock, no waiting, no channel; the caller
// says how many tries it made and how long ago it began, and does the waiting itself.

namespace ballast::client {

struct RetryLimits {
  // From the first try on. A session's replies are kept long enough for exactly this: nobody
  // retries a mutation later than 10 minutes after its first try.
  absl::Duration total = absl::Minutes(10);
  // Upper bound of the wait after the first failure; doubled with each further one up to
  // `wait_max`.
  absl::Duration first_wait = absl::Milliseconds(20);
  absl::Duration wait_max = absl::Seconds(5);
  // 0: only time limits.
  int tries_max = 0;
};

// What one try tells about the operation.
enum class TryOutcome {
  kSuccess,
  kFinal,        // refused for good; trying again cannot help
  kNotExecuted,  // this try did nothing, and another one may succeed
  kUnknown,      // this try may have taken effect; only the same request id may be tried again
};

// Of a status that a Ballast server or the transport gave. Errors with one of our reasons are taken
// at their word; bare UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, UNKNOWN, INTERNAL and
// RESOURCE_EXHAUSTED come from the transport and leave the outcome open.
TryOutcome OutcomeOf(const absl::Status& status);

struct RetryDecision {
  bool retry = false;
  absl::Duration wait;  // before the next try; 0 if `retry` is false
};

// After `tries` >= 1 tries that began `elapsed` ago, the last of which gave `status` (not OK).
//
// The wait is uniform in [half, full] of first_wait * 2^(tries - 1), cut at wait_max, and never
// below the server's hint.retry_after_ms. A NOT_LEADER that names the leader, or a WRONG_GROUP,
// costs no wait while tries <= 3: the caller knows better at once. Stops when the outcome is final,
// tries_max is reached, or the wait would end past `total`.
RetryDecision DecideRetry(const RetryLimits& limits, int tries, absl::Duration elapsed,
                          const absl::Status& status, Rng& rng);

}  // namespace ballast::client
