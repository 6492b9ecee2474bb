// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/copy_lanes.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace ballast::master {

void CopyLanes::Set(uint64_t bytes_per_second, uint32_t lanes, SteadyTime now) {
  lanes = std::clamp(lanes, 1u, kLanesMax);
  const uint64_t before = std::exchange(bytes_per_second_, bytes_per_second);
  if (before != bytes_per_second) {
    const double longer =
        limited() ? static_cast<double>(before) / static_cast<double>(bytes_per_second) : 0;
    for (SteadyTime& until : busy_until_) {
      until = std::max(until, now);
      until = now + (until - now) * longer;
    }
  }
  // With fewer lanes than before, the busiest stay: their copies still run.
  std::sort(busy_until_.begin(), busy_until_.end(), std::greater<>());
  busy_until_.resize(lanes);
}

std::optional<uint32_t> CopyLanes::TryBegin(uint64_t bytes, SteadyTime now) {
  const auto lanes = static_cast<uint32_t>(busy_until_.size());
  const uint32_t share = 1'000'000 / lanes;
  if (!limited()) {
    return share;
  }
  const auto free = std::min_element(busy_until_.begin(), busy_until_.end());
  if (*free > now) {
    return std::nullopt;
  }
  const double rate = static_cast<double>(bytes_per_second_) / lanes;
  const absl::Duration duration = absl::Seconds(static_cast<double>(bytes) / rate);
  *free =
      duration <= kShort ? std::max(*free, now - kCatchUp) + duration : now + duration + kMargin;
  return share;
}

std::optional<SteadyTime> CopyLanes::NextFree(SteadyTime now) const {
  const SteadyTime free = *std::min_element(busy_until_.begin(), busy_until_.end());
  return !limited() || free <= now ? std::nullopt : std::optional<SteadyTime>(free);
}

}  // namespace ballast::master
