// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>

#include "absl/time/time.h"

namespace ballast {

// A point on a process's steady clock: never jumps, has no meaning outside its process. Distinct
// from absl::Time (wall clock) so that the two cannot be mixed.
class SteadyTime {
 public:
  constexpr SteadyTime() = default;
  static constexpr SteadyTime FromOrigin(absl::Duration since) { return SteadyTime(since); }
  constexpr absl::Duration SinceOrigin() const { return since_; }

  friend constexpr bool operator==(SteadyTime a, SteadyTime b) { return a.since_ == b.since_; }
  friend constexpr bool operator!=(SteadyTime a, SteadyTime b) { return a.since_ != b.since_; }
  friend constexpr bool operator<(SteadyTime a, SteadyTime b) { return a.since_ < b.since_; }
  friend constexpr bool operator<=(SteadyTime a, SteadyTime b) { return a.since_ <= b.since_; }
  friend constexpr bool operator>(SteadyTime a, SteadyTime b) { return a.since_ > b.since_; }
  friend constexpr bool operator>=(SteadyTime a, SteadyTime b) { return a.since_ >= b.since_; }
  friend SteadyTime operator+(SteadyTime t, absl::Duration d) { return SteadyTime(t.since_ + d); }
  friend SteadyTime operator-(SteadyTime t, absl::Duration d) { return SteadyTime(t.since_ - d); }
  friend absl::Duration operator-(SteadyTime a, SteadyTime b) { return a.since_ - b.since_; }

 private:
  explicit constexpr SteadyTime(absl::Duration since) : since_(since) {}
  absl::Duration since_ = absl::ZeroDuration();
};

// The only source of time. Thread-safe. Cores take times as arguments and never hold a Clock.
class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes backwards. Continues while the process is stopped (CLOCK_BOOTTIME), so that a
  // paused process can notice its pause.
  virtual SteadyTime SteadyNow() = 0;
  // For people only (object times shown by `stat`); may jump; decides nothing.
  virtual absl::Time WallNow() = 0;
};

// The machine's clock; lives for ever.
Clock& RealClock();

}  // namespace ballast
