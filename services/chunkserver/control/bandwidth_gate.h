// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "services/chunkserver/core/bandwidth_limiter.h"

namespace ballast::chunkserver {

// Where bytes wait until they may pass.
//
// Concurrency: thread-safe, does not block, and calls nobody from inside a call. Lifetime: shared
// by its users.
class TrafficGate {
 public:
  using Ticket = uint64_t;
  virtual ~TrafficGate() = default;

  // How much to ask for at once; whole blocks.
  virtual uint64_t PieceBytes() const = 0;

  // No ticket: granted, and `granted` is destroyed. Otherwise `granted` runs once, on the executor,
  // unless Cancel comes before; it may also run while Cancel does.
  virtual std::optional<Ticket> Ask(uint64_t bytes, Task granted) = 0;
  // Unknown and granted tickets are ignored.
  virtual void Cancel(Ticket ticket) = 0;
};

// A BandwidthLimiter for several threads, on a clock and an executor. One object is one class of
// traffic: all that is given the same gate shares its rate.
//
// Concurrency, lifetime: as TrafficGate; the clock outlives it, too. Executor and clock may end
// before it when it is not asked any more. Who still waits when it is destroyed is never called.
class BandwidthGate final : public TrafficGate, public std::enable_shared_from_this<BandwidthGate> {
 public:
  // 0 bytes a second: no limit.
  static std::shared_ptr<BandwidthGate> Make(Executor& executor, Clock& clock,
                                             uint64_t bytes_per_second);
  BandwidthGate(const BandwidthGate&) = delete;
  BandwidthGate& operator=(const BandwidthGate&) = delete;

  // Holds from now on, for those who wait, too.
  void SetRate(uint64_t bytes_per_second) ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t bytes_per_second() const ABSL_LOCKS_EXCLUDED(mu_);
  // All that was ever granted.
  uint64_t granted_bytes() const { return granted_bytes_.load(std::memory_order_relaxed); }

  uint64_t PieceBytes() const override ABSL_LOCKS_EXCLUDED(mu_);
  std::optional<Ticket> Ask(uint64_t bytes, Task granted) override ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel(Ticket ticket) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Waiting {
    uint64_t bytes;
    Task granted;
  };

  BandwidthGate(Executor& executor, Clock& clock, uint64_t bytes_per_second)
      : executor_(executor), clock_(clock), limiter_(bytes_per_second) {}
  void Pump() ABSL_LOCKS_EXCLUDED(mu_);
  void SchedulePumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Executor& executor_;
  Clock& clock_;
  std::atomic<uint64_t> granted_bytes_{0};
  mutable absl::Mutex mu_;
  BandwidthLimiter limiter_ ABSL_GUARDED_BY(mu_);
  std::map<Ticket, Waiting> waiting_ ABSL_GUARDED_BY(mu_);
  std::optional<Executor::TimerId> pump_timer_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::chunkserver
