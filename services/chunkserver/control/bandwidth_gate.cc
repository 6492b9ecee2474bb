// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/bandwidth_gate.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace ballast::chunkserver {

std::shared_ptr<BandwidthGate> BandwidthGate::Make(Executor& executor, Clock& clock,
                                                   uint64_t bytes_per_second) {
  return std::shared_ptr<BandwidthGate>(new BandwidthGate(executor, clock, bytes_per_second));
}

void BandwidthGate::SetRate(uint64_t bytes_per_second) {
  absl::MutexLock lock(&mu_);
  if (bytes_per_second == limiter_.bytes_per_second()) {
    return;
  }
  limiter_.SetRate(clock_.SteadyNow(), bytes_per_second);
  if (pump_timer_.has_value()) {
    executor_.Cancel(*pump_timer_);
    pump_timer_.reset();
  }
  SchedulePumpLocked();
}

uint64_t BandwidthGate::bytes_per_second() const {
  absl::MutexLock lock(&mu_);
  return limiter_.bytes_per_second();
}

uint64_t BandwidthGate::PieceBytes() const {
  absl::MutexLock lock(&mu_);
  return limiter_.PieceBytes();
}

std::optional<BandwidthGate::Ticket> BandwidthGate::Ask(uint64_t bytes, Task granted) {
  absl::MutexLock lock(&mu_);
  const Ticket ticket = limiter_.Ask(bytes);
  if (waiting_.empty() && !limiter_.Release(clock_.SteadyNow()).empty()) {
    granted_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    return std::nullopt;
  }
  waiting_.emplace(ticket, Waiting{.bytes = bytes, .granted = std::move(granted)});
  SchedulePumpLocked();
  return ticket;
}

void BandwidthGate::Cancel(Ticket ticket) {
  Task dropped;  // destroyed outside the lock
  absl::MutexLock lock(&mu_);
  limiter_.Cancel(ticket);
  const auto it = waiting_.find(ticket);
  if (it != waiting_.end()) {
    dropped = std::move(it->second.granted);
    waiting_.erase(it);
  }
}

void BandwidthGate::SchedulePumpLocked() {
  const std::optional<SteadyTime> due = limiter_.NextDue();
  if (due.has_value() && !pump_timer_.has_value()) {
    const absl::Duration wait = *due - clock_.SteadyNow();
    pump_timer_ =
        executor_.RunAfter(std::max(wait, absl::ZeroDuration()), [weak = weak_from_this()] {
          if (const auto self = weak.lock()) {
            self->Pump();
          }
        });
  }
}

void BandwidthGate::Pump() {
  std::vector<Task> granted;
  {
    absl::MutexLock lock(&mu_);
    pump_timer_.reset();
    for (const Ticket ticket : limiter_.Release(clock_.SteadyNow())) {
      const auto it = waiting_.find(ticket);
      granted_bytes_.fetch_add(it->second.bytes, std::memory_order_relaxed);
      granted.push_back(std::move(it->second.granted));
      waiting_.erase(it);
    }
    SchedulePumpLocked();
  }
  for (Task& task : granted) {
    task();
  }
}

}  // namespace ballast::chunkserver
