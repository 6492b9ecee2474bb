// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"

namespace ballast {

// A point on a process's steady clock (common/env/clock.h): never jumps, has no meaning outside its
// process. Distinct from absl::Time (wall clock) so that the two cannot be mixed. A plain value:
// cores take it as an argument.
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

}  // namespace ballast
