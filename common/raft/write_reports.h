// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>

namespace ballast {

// Which entries the core may be told are durable: the highest index of a finished write whose
// entries are still those in the log. Getting this wrong acknowledges entries that are not on
// disk. Pure.
class WriteReports {
 public:
  // The core counts everything up to `index` as durable: at the start, and after an install.
  void Restart(uint64_t index) {
    writes_.clear();
    reported_ = index;
    installing_ = false;
  }

  // Entries first..last are to be written by `write`; they replace whatever was at `first` and
  // behind it, also in writes that are under way. Writes are numbered upwards.
  void Queue(uint64_t write, uint64_t first, uint64_t last) {
    for (Write& w : writes_) {
      if (w.report_to >= first) {
        w.report_to = first > w.first ? first - 1 : 0;
      }
    }
    reported_ = std::min(reported_, first - 1);
    writes_.push_back({.number = write, .first = first, .report_to = last});
  }

  // The log is dropped; nothing is reported until Restart.
  void StartInstall() {
    writes_.clear();
    reported_ = 0;
    installing_ = true;
  }

  // All writes up to number `write` are durable: the index to report now, if any.
  std::optional<uint64_t> Done(uint64_t write) {
    uint64_t index = 0;
    while (!writes_.empty() && writes_.front().number <= write) {
      index = std::max(index, writes_.front().report_to);
      writes_.pop_front();
    }
    if (installing_ || index <= reported_) {
      return std::nullopt;
    }
    reported_ = index;
    return index;
  }

  uint64_t reported() const { return reported_; }

 private:
  struct Write {
    uint64_t number = 0;
    uint64_t first = 0;
    uint64_t report_to = 0;  // 0: nothing of it is left
  };
  std::deque<Write> writes_;
  uint64_t reported_ = 0;
  bool installing_ = false;
};

}  // namespace ballast
