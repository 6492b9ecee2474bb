// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/rng.h"

// When and where a failed call is tried again. Pure: no clock, no transport. Not thread-safe.

namespace ballast {

// True if another try, perhaps at another address, may succeed: nothing of our own said a definite
// no. Says nothing of whether the failed try took effect; callers repeat only what may be repeated.
bool IsRetryable(const absl::Status& status);

// Growing pauses: min, 2 min, 4 min, ... max, each shortened at random by up to half so that many
// callers do not come back together.
class Backoff {
 public:
  // Requires: 0 < min <= max.
  Backoff(absl::Duration min, absl::Duration max, uint64_t seed);
  // The pause before the next try; at least the retry_after of `failure`, if it has one.
  absl::Duration Next(const absl::Status& failure);
  // After a success.
  void Reset() { next_ = min_; }

 private:
  const absl::Duration min_;
  const absl::Duration max_;
  absl::Duration next_;
  Rng rng_;
};

// Which of several replicas to ask. Stays with one that answers; a NOT_LEADER hint is followed at
// once, also to an address that was not given, but no more than three in a row; every other
// failure goes on to the next address.
class LeaderRoute {
 public:
  // Requires: `addresses` is not empty.
  explicit LeaderRoute(std::vector<std::string> addresses);

  const std::string& current() const { return current_; }
  void OnSuccess();
  // Chooses the next address. True if it should be asked at once; false after a round in which all
  // failed: pause first.
  bool OnFailure(const absl::Status& failure);

 private:
  const std::vector<std::string> addresses_;
  size_t position_ = 0;
  std::string current_;
  size_t failures_ = 0;  // since the last success or pause
  int hints_ = 0;        // followed in a row
};

}  // namespace ballast
