// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/base/rng.h"
#include "common/env/clock.h"
#include "common/env/executor.h"

namespace ballast::testing {

// Virtual time, the twin of Clock and Executor: every task of a simulated world is an event ordered
// by (time, sequence), all chance comes from one Rng, and time passes only from event to event. The
// same seed and the same calls give the same order of events.
//
// Concurrency: one thread. Lifetime: executors it made must not outlive it.
class SimScheduler final : public Clock {
 public:
  explicit SimScheduler(uint64_t seed) : rng_(seed) {}

  SteadyTime SteadyNow() override { return SteadyTime::FromOrigin(now_); }
  absl::Time WallNow() override { return absl::UnixEpoch() + wall_offset_ + now_; }
  // Makes the wall clock jump; the steady clock never does.
  void JumpWallClock(absl::Duration by) { wall_offset_ += by; }

  Rng& rng() { return rng_; }

  // A serial executor of this world. Each task starts after a delay of 0..jitter, drawn anew, but
  // never before an earlier one of the same executor. Destroying it drops its tasks: a crash of
  // whatever ran on it.
  std::unique_ptr<Executor> MakeExecutor(absl::Duration jitter = absl::ZeroDuration());

  // Runs `task` at now + delay, on behalf of no executor (networks, nemeses, test scripts).
  void At(absl::Duration delay, Task task) { Schedule(nullptr, now_ + delay, std::move(task)); }

  // Runs the next event; false if there is none.
  bool Step();
  // Runs events until done() or `limit` of virtual time has passed; returns done().
  template <typename Done>
  bool RunUntilTrue(Done done, absl::Duration limit) {
    const absl::Duration end = now_ + limit;
    while (!done()) {
      if (events_.empty() || events_.begin()->first.first > end) {
        now_ = end;
        return done();
      }
      Step();
    }
    return true;
  }
  // Runs all events of the next `span` and advances the clock to its end.
  void RunFor(absl::Duration span) {
    RunUntilTrue([] { return false; }, span);
  }

  uint64_t steps() const { return steps_; }

 private:
  class SimExecutor;
  using EventKey = std::pair<absl::Duration, uint64_t>;
  struct Event {
    const SimExecutor* owner;
    Task task;
  };
  uint64_t Schedule(const SimExecutor* owner, absl::Duration due, Task task);
  void Drop(const SimExecutor* owner);

  Rng rng_;
  absl::Duration now_ = absl::ZeroDuration();
  absl::Duration wall_offset_ = absl::Hours(24 * 365 * 50);
  uint64_t next_sequence_ = 1;
  uint64_t steps_ = 0;
  std::map<EventKey, Event> events_;
  std::map<uint64_t, absl::Duration> due_by_sequence_;
};

}  // namespace ballast::testing
