// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/base/steady_time.h"

namespace ballast::master {

// Divides a rate that holds for the whole cluster among copies that begin and end all the time.
//
// The rate is cut into equal *lanes*; a copy takes one lane and keeps to its rate, and the lane is
// free again when the copy's bytes must have gone, whatever else the copy waits for (fsync, report,
// log). So the copies under way never take more than the whole, and while there is work nothing of
// it is wasted: short copies, for which the time between one's end and the next one's begin would
// count, make it good. In every second at most the rate + 2 % and a short copy for each lane is
// begun. Without a limit there are lanes as well, but none is ever busy.
//
// Pure; time is an argument. Concurrency: none.
class CopyLanes {
 public:
  static constexpr uint32_t kLanesMax = 16;
  // A copy begins so much after it was ordered; of no account for short ones.
  static constexpr absl::Duration kMargin = absl::Milliseconds(2);
  static constexpr absl::Duration kShort = absl::Milliseconds(200);
  // A lane whose short copy began late is free as much earlier, up to this.
  static constexpr absl::Duration kCatchUp = absl::Milliseconds(20);

  // `bytes_per_second`: 0 = no limit. `lanes`: 1..kLanesMax; more copies than that may not be
  // possible. Copies under way keep to their share of the new rate, so their lanes are free sooner
  // or later than they would have been.
  void Set(uint64_t bytes_per_second, uint32_t lanes, SteadyTime now);

  // A copy of `bytes` begins now. Returns its share of the whole in millionths; none: all lanes are
  // busy.
  std::optional<uint32_t> TryBegin(uint64_t bytes, SteadyTime now);

  // When the next lane will be free; none if one is free now.
  std::optional<SteadyTime> NextFree(SteadyTime now) const;

  bool limited() const { return bytes_per_second_ > 0; }

 private:
  uint64_t bytes_per_second_ = 0;
  std::vector<SteadyTime> busy_until_ = std::vector<SteadyTime>(1);
};

}  // namespace ballast::master
