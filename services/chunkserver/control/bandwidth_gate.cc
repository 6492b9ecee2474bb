// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/bandwidth_gate.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace ballast::chunkserver {

BandwidthGate::~BandwidthGate() {
  absl::MutexLock lock(&mu_);
  if (pump_timer_.has_value()) {
    executor_.Cancel(*pump_timer_);
  }
}

void BandwidthGate::SetRate(uint64_t bytes_per_second) {
  absl::MutexLock lock(&mu_);
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
    return std::nullopt;
  }
  waiting_.emplace(ticket, std::move(granted));
  SchedulePumpLocked();
  return ticket;
}

void BandwidthGate::Cancel(Ticket ticket) {
  Task dropped;  // destroyed outside the lock
  absl::MutexLock lock(&mu_);
  limiter_.Cancel(ticket);
  const auto it = waiting_.find(ticket);
  if (it != waiting_.end()) {
    dropped = std::move(it->second);
    waiting_.erase(it);
  }
}

void BandwidthGate::SchedulePumpLocked() {
  const std::optional<SteadyTime> due = limiter_.NextDue();
  if (due.has_value() && !pump_timer_.has_value()) {
    const absl::Duration wait = *due - clock_.SteadyNow();
    pump_timer_ = executor_.RunAfter(std::max(wait, absl::ZeroDuration()), [this] { Pump(); });
  }
}

void BandwidthGate::Pump() {
  std::vector<Task> granted;
  {
    absl::MutexLock lock(&mu_);
    pump_timer_.reset();
    for (const Ticket ticket : limiter_.Release(clock_.SteadyNow())) {
      const auto it = waiting_.find(ticket);
      granted.push_back(std::move(it->second));
      waiting_.erase(it);
    }
    SchedulePumpLocked();
  }
  for (Task& task : granted) {
    task();
  }
}

}  // namespace ballast::chunkserver
