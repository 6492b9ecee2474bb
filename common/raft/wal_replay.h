// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/raft/log_cache.h"
#include "common/raft/wal_format.h"

namespace ballast {

// What the records of a write-ahead log say when read in order; also kept by its writer, for the
// BASE record of the next segment. Pure.
//
// Reading may start at any segment: its BASE then stands for entries of older segments, which
// counts as damage unless a later record makes them unneeded (older segments are removed exactly
// when their entries are).
class WalReplay {
 public:
  // DATA_LOSS, naming the contradiction, if the record cannot follow the earlier ones; then the
  // replay is of no further use.
  absl::Status Apply(const WalRecord& record);

  // DATA_LOSS if the records up to now do not make a whole log.
  absl::Status Finish() const;

  uint64_t term() const { return term_; }
  uint64_t vote() const { return vote_; }
  // The log; its base is what was trimmed or reset to.
  const LogCache& log() const { return log_; }
  LogCache TakeLog() { return std::move(log_); }

 private:
  absl::Status Add(const WalHard& record);
  absl::Status Add(const WalEntries& record);
  absl::Status Add(const WalReset& record);
  absl::Status Add(const WalTrim& record);
  absl::Status Add(const WalBase& record);

  bool begun_ = false;
  uint64_t term_ = 0;
  uint64_t vote_ = 0;
  // Entries trim_index_+1 .. missing_last_ were in segments that are gone; then log_ begins.
  uint64_t trim_index_ = 0;
  uint64_t trim_term_ = 0;
  uint64_t missing_last_ = 0;
  LogCache log_;
};

}  // namespace ballast
