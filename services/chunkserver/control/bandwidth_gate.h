// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "services/chunkserver/core/bandwidth_limiter.h"

namespace ballast::chunkserver {

// A BandwidthLimiter for several threads, on a clock and an executor. One object is one class of
// traffic: all that is given the same gate shares its rate.
//
// Concurrency: thread-safe, does not block. Lifetime: clock and executor outlive it; it is
// destroyed when nobody waits at it and the executor has ended or runs nothing any more.
class BandwidthGate {
 public:
  using Ticket = BandwidthLimiter::Ticket;

  // 0 bytes a second: no limit.
  BandwidthGate(Executor& executor, Clock& clock, uint64_t bytes_per_second)
      : executor_(executor), clock_(clock), limiter_(bytes_per_second) {}

  ~BandwidthGate();
  BandwidthGate(const BandwidthGate&) = delete;
  BandwidthGate& operator=(const BandwidthGate&) = delete;

  void SetRate(uint64_t bytes_per_second) ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t bytes_per_second() const ABSL_LOCKS_EXCLUDED(mu_);

  // How much to ask for at once.
  uint64_t PieceBytes() const ABSL_LOCKS_EXCLUDED(mu_);

  // No ticket: granted, and `granted` is destroyed. Otherwise `granted` runs once, on the executor,
  // unless Cancel comes before; it may also run while Cancel does.
  std::optional<Ticket> Ask(uint64_t bytes, Task granted) ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel(Ticket ticket) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Pump() ABSL_LOCKS_EXCLUDED(mu_);
  void SchedulePumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Executor& executor_;
  Clock& clock_;
  mutable absl::Mutex mu_;
  BandwidthLimiter limiter_ ABSL_GUARDED_BY(mu_);
  std::map<Ticket, Task> waiting_ ABSL_GUARDED_BY(mu_);
  std::optional<Executor::TimerId> pump_timer_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::chunkserver
