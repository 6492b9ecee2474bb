// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/retry_policy.h"
#include "common/base/rng.h"

namespace ballast::client {

// What the retry loops of one client share. Thread-safe.
struct RetryEnvironment {
  Pacer& pacer;
  std::function<void(absl::string_view)> on_waiting;  // may be empty; see ClientOptions
  std::atomic<uint64_t> next_seed;                    // each loop's jitter has a seed of its own
};

// One operation's tries: counts them, waits between them, reports long waits, and remembers
// whether one of them may have taken effect.
//
//   RetryLoop loop(env, limits, cancel);
//   while (true) {
//     status = Try();
//     if (status.ok() || !loop.Again(status)) return ...;
//   }
//
// Concurrency: one thread. Lifetime: environment and token must outlive it.
class RetryLoop {
 public:
  RetryLoop(RetryEnvironment& env, const RetryLimits& limits, const Cancellation* cancel);

  // After a failed try: waits as the policy says and returns true, or returns false because another
  // try is useless, too late or no longer wanted.
  bool Again(const absl::Status& status);

  // As Again, but for a failure before anything was sent: it leaves no doubt about the outcome.
  bool AgainUnsent(const absl::Status& status);

  // True if some try so far may have taken effect.
  bool any_unknown() const { return any_unknown_; }
  int tries() const { return tries_; }
  // "after 7 tries in 3.2s: ..." in front of the last error, code and reason kept; the error itself
  // if there was one try only.
  absl::Status Explain(const absl::Status& last) const;

 private:
  RetryEnvironment& env_;
  const RetryLimits limits_;
  const Cancellation* const cancel_;
  Rng rng_;
  const SteadyTime begin_;
  SteadyTime last_report_;
  bool reported_ = false;
  bool any_unknown_ = false;
  int tries_ = 0;
};

// `status` with `prefix` in front of its text; code and reason kept.
absl::Status Annotate(const absl::Status& status, absl::string_view prefix);

}  // namespace ballast::client
