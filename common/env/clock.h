// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"
#include "common/base/steady_time.h"

namespace ballast {

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
