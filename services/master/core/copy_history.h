// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "absl/status/status.h"
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
  // Bytes a second of copies that ended within the last kRateWindow.
  uint64_t RateOf(CopyPurpose purpose, SteadyTime now) const {
    uint64_t bytes = 0;
    for (auto it = entries_.rbegin(); it != entries_.rend() && now - it->at <= kRateWindow; ++it) {
      if (it->task.purpose == purpose) bytes += it->bytes;
    }
    return bytes / static_cast<uint64_t>(absl::ToInt64Seconds(kRateWindow));
  }

 private:
  Totals& TotalsOf(CopyPurpose purpose) { return totals_[static_cast<size_t>(purpose)]; }

  std::deque<Entry> entries_;
  Totals totals_[4] = {};
};

}  // namespace ballast::master
