// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/raft/craft_shim.h"

namespace ballast {

// What an entry of the log is; numbers are written to disk and sent.
enum class EntryType : uint8_t {
  kCommand = BALLAST_CRAFT_COMMAND,  // of the state machine
  kBarrier = BALLAST_CRAFT_BARRIER,  // written by a new leader; 8 zero bytes
  kChange = BALLAST_CRAFT_CHANGE,    // entry 1: the configuration
};

// Shared by the log, the write-ahead log's writer, senders and the apply loop; never changed.
using Payload = std::shared_ptr<const std::string>;

struct LogEntry {
  uint64_t term = 0;
  EntryType type = EntryType::kCommand;
  Payload payload;

  size_t bytes() const { return payload->size(); }
};

// The entries base_index()+1 .. last_index() of the log, in memory. The entry at base_index() is
// known by its term only (it is in a snapshot); base 0 has term 0. Not thread-safe.
class LogCache {
 public:
  uint64_t base_index() const { return base_index_; }
  uint64_t base_term() const { return base_term_; }
  uint64_t last_index() const { return base_index_ + entries_.size(); }
  uint64_t bytes() const { return bytes_; }

  bool Has(uint64_t index) const { return index > base_index_ && index <= last_index(); }
  const LogEntry& At(uint64_t index) const {
    CHECK(Has(index)) << " entry " << index << " of " << base_index_ << ".." << last_index();
    return entries_[index - base_index_ - 1];
  }
  // 0 if the log does not know.
  uint64_t TermAt(uint64_t index) const {
    return index == base_index_ ? base_term_ : Has(index) ? At(index).term : 0;
  }

  void Append(LogEntry entry) {
    bytes_ += entry.bytes();
    entries_.push_back(std::move(entry));
  }
  // Drops the entries from `index` on; index > base_index().
  void TruncateFrom(uint64_t index) {
    CHECK_GT(index, base_index_);
    while (last_index() >= index) {
      bytes_ -= entries_.back().bytes();
      entries_.pop_back();
    }
  }
  // Drops the entries up to `index` <= last_index(); nothing if they are gone already.
  void TrimTo(uint64_t index) {
    CHECK_LE(index, last_index());
    while (base_index_ < index) {
      base_term_ = entries_.front().term;
      bytes_ -= entries_.front().bytes();
      entries_.pop_front();
      ++base_index_;
    }
  }
  // States the term of the entry at base_index(), once it is known.
  void SetBaseTerm(uint64_t term) { base_term_ = term; }
  // Empties the log; the next entry is index + 1.
  void Reset(uint64_t index, uint64_t term) {
    entries_.clear();
    bytes_ = 0;
    base_index_ = index;
    base_term_ = term;
  }

 private:
  uint64_t base_index_ = 0;
  uint64_t base_term_ = 0;
  uint64_t bytes_ = 0;
  std::deque<LogEntry> entries_;
};

}  // namespace ballast
