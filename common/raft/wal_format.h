// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/raft/log_cache.h"

// Bytes of the write-ahead log, both directions, pure. docs/formats/raft_storage.md is the
// specification; a change of anything here is a new kWalVersion.

namespace ballast {

inline constexpr uint32_t kWalVersion = 1;
inline constexpr size_t kWalHeaderBytes = 80;
inline constexpr size_t kWalFrameBytes = 32;  // before a record's body
inline constexpr size_t kClusterIdBytesMax = 36;
// A record of entries is closed when its body has this many bytes, so that a torn write loses a
// suffix of a batch instead of all of it. One entry may be longer.
inline constexpr size_t kWalBodyBytesTarget = size_t{1} << 20;

// First bytes of a segment.
struct WalHeader {
  std::string cluster_id;  // 1..kClusterIdBytesMax bytes
  uint32_t group = 0;
  uint64_t segment = 0;    // number of the segment, 1 and up
  uint64_t first_lsn = 0;  // of its first record
  uint64_t salt = 0;       // goes into every record's checksum, so that stored data cannot pose
                           // as a record
};

// --- records; each overrides what earlier ones said --------------------------------------------
struct WalHard {  // the core's term and vote (0: none)
  uint64_t term = 0;
  uint64_t vote = 0;
};
struct WalEntries {  // the log is truncated from `first`, then has these
  uint64_t first = 0;
  std::vector<LogEntry> entries;
};
struct WalReset {  // the log is dropped; a snapshot holds everything up to `index`
  uint64_t index = 0;
  uint64_t term = 0;  // of entry `index`
};
struct WalTrim {  // entries up to `index` are in a snapshot and no longer needed
  uint64_t index = 0;
  uint64_t term = 0;
};
struct WalBase {  // first record of every segment: all that earlier ones said, but the entries
  uint64_t term = 0;
  uint64_t vote = 0;
  uint64_t trim_index = 0;
  uint64_t trim_term = 0;
  uint64_t last = 0;  // index of the last entry; trim_index if there is none
};
using WalRecord = std::variant<WalHard, WalEntries, WalReset, WalTrim, WalBase>;

// --- encoding -----------------------------------------------------------------------------------
std::string EncodeWalHeader(const WalHeader& header);

// What identifies a record within its log.
struct WalPosition {
  uint64_t lsn = 0;    // one more than the record before it
  uint64_t batch = 0;  // lsn of the first record of the write (one fsync) that carried it
};

// Appends the record, padded to a multiple of 8 bytes.
void AppendWalRecord(const WalHeader& header, WalPosition position, const WalRecord& record,
                     std::string* out);

// --- decoding, of hostile bytes -----------------------------------------------------------------
// DATA_LOSS if it is no header of this version.
absl::StatusOr<WalHeader> DecodeWalHeader(absl::string_view data);

// A record whose checksum fits, its body not yet looked at.
struct WalFrame {
  WalPosition position;
  uint8_t kind = 0;
  absl::string_view body;
  size_t bytes = 0;  // with frame and padding
};
// The frame at the front of `data`, which starts at a multiple of 8. NOT_FOUND if there is none
// (end of the log, torn or damaged).
absl::StatusOr<WalFrame> DecodeWalFrame(const WalHeader& header, absl::string_view data);

// DATA_LOSS if the body does not fit its kind: not torn but written wrongly.
absl::StatusOr<WalRecord> DecodeWalRecord(const WalFrame& frame);

// True if any whole record in `data` was written after the write that record `lsn` belonged to was
// durable: then a bad record `lsn` is damage, and no torn tail.
bool HasLaterBatch(const WalHeader& header, uint64_t lsn, absl::string_view data);

}  // namespace ballast
