// SPDX-License-Identifier: Apache-2.0
#include "common/env/clock.h"

#include <time.h>

#include "absl/time/clock.h"
#include "common/base/check.h"

namespace ballast {
namespace {

class SystemClock final : public Clock {
 public:
  SteadyTime SteadyNow() override {
    timespec now;
    CHECK_EQ(clock_gettime(CLOCK_BOOTTIME, &now), 0);
    return SteadyTime::FromOrigin(absl::DurationFromTimespec(now));
  }
  absl::Time WallNow() override { return absl::Now(); }
};

}  // namespace

Clock& RealClock() {
  static SystemClock* clock = new SystemClock();
  return *clock;
}

}  // namespace ballast
