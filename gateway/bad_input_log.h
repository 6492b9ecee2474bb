// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "absl/strings/string_view.h"
#include "common/base/steady_time.h"

namespace ballast::gateway {

// Bounds what is said about bad input: kBurst lines at once, then kPerSecond; the next line that is
// said counts those that were not. One thread; takes times as arguments.
class BadInputLog {
 public:
  static constexpr int64_t kBurst = 100;
  static constexpr int64_t kPerSecond = 10;

  // Says one line; false if it could not without waiting, and is to be tried again.
  using Say = std::function<bool(uint64_t line, absl::string_view problem, uint64_t unsaid)>;
  explicit BadInputLog(Say say);

  void Note(uint64_t line, absl::string_view problem, SteadyTime now);
  // At the end: counts what was left unsaid.
  void End();

 private:
  const Say say_;
  int64_t allowance_ms_ = kBurst * 1000 / kPerSecond;  // a line costs 1000 / kPerSecond
  SteadyTime refilled_at_;
  uint64_t unsaid_ = 0;
  uint64_t last_line_ = 0;
};

}  // namespace ballast::gateway
