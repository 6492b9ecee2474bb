// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"
#include "services/master/core/copy_table.h"

namespace ballast::master {

// The copies that ended lately, for people who ask why something was moved, and the rate at which
// bytes go. Bounded; nothing is decided by it. Concurrency: none.
class CopyHistory {
 public:
  static constexpr size_t kEntriesMax = 8192;
  static constexpr absl::Duration kRateWindow = absl::Seconds(10);

  struct Entry {
    SteadyTime at;
    CopyTask task;
    absl::Status status;
    uint64_t bytes = 0;
  };
  struct Totals {
    uint64_t done = 0;
    uint64_t failed = 0;
    uint64_t bytes = 0;
  };

  void Add(Entry entry) {
    Totals& totals = TotalsOf(entry.task.purpose);
    ++(entry.status.ok() ? totals.done : totals.failed);
    totals.bytes += entry.bytes;
    Busy& busy = busy_[static_cast<size_t>(entry.task.purpose)];
    if (!busy.last.has_value() || entry.at - *busy.last > kRateWindow) busy.since = entry.at;
    busy.last = entry.at;
    entries_.push_back(std::move(entry));
    if (entries_.size() > kEntriesMax) entries_.pop_front();
  }

  // fn(const Entry&) for each copy of this chunk that is remembered, oldest first.
  template <typename Fn>
  void ForEach(ChunkHandle handle, Fn&& fn) const {
    for (const Entry& entry : entries_) {
      if (entry.task.handle == handle) fn(entry);
    }
  }
  // Of all copies of this purpose since the term began.
  const Totals& totals(CopyPurpose purpose) const { return totals_[static_cast<size_t>(purpose)]; }
  // Bytes a second of copies that ended within the last kRateWindow, or since they began to end
  // again after a rest as long.
  uint64_t RateOf(CopyPurpose purpose, SteadyTime now) const {
    uint64_t bytes = 0;
    for (auto it = entries_.rbegin(); it != entries_.rend() && now - it->at <= kRateWindow; ++it) {
      if (it->task.purpose == purpose) bytes += it->bytes;
    }
    const absl::Duration span =
        std::clamp(now - busy_[static_cast<size_t>(purpose)].since, absl::Seconds(1), kRateWindow);
    return static_cast<uint64_t>(static_cast<double>(bytes) / absl::ToDoubleSeconds(span));
  }

 private:
  Totals& TotalsOf(CopyPurpose purpose) { return totals_[static_cast<size_t>(purpose)]; }

  struct Busy {
    SteadyTime since;
    std::optional<SteadyTime> last;
  };

  std::deque<Entry> entries_;
  Totals totals_[4] = {};
  Busy busy_[4] = {};
};

// When `bytes` more will have gone, in ms: by what the limits need for it and by the measured rate,
// whichever is slower. -1: neither is known. A rate of 0 means that nothing was measured.
inline int64_t EtaMs(uint64_t bytes, std::optional<double> seconds_by_limits,
                     uint64_t bytes_per_second) {
  if (bytes == 0) return 0;
  if (!seconds_by_limits.has_value() && bytes_per_second == 0) return -1;
  double seconds = seconds_by_limits.value_or(0);
  if (bytes_per_second > 0) {
    seconds = std::max(seconds, static_cast<double>(bytes) / static_cast<double>(bytes_per_second));
  }
  return static_cast<int64_t>(std::min(seconds, 1e12) * 1000);
}

}  // namespace ballast::master
