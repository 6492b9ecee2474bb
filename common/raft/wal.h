// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env/file_system.h"
#include "common/raft/wal_format.h"
#include "common/raft/wal_replay.h"
#include "common/types/limits.h"

namespace ballast {

// The write-ahead log of one replicated log: segments "wal-<number>.log" in a folder of its own,
// preallocated, appended to, removed from the front when nothing in them is needed.
//
// Guarantees: what a Write returned OK for is there after any crash, and nothing written before
// it is missing. A torn last write is cut off when the log is opened. Damage anywhere else
// (checksums, order, missing segments) refuses the log with DATA_LOSS and changes nothing.
// Concurrency: none; all methods block and are called by one thread at a time.
// Failure: after a failed write or sync nothing is known of what the disk holds, so that error is
// final: every later Write fails, and the log is usable again only after it was opened anew.
class Wal {
 public:
  struct Options {
    std::string cluster_id;  // 1..kClusterIdBytesMax bytes
    uint32_t group = 0;
    uint64_t salt = 0;  // differs per start; see WalHeader
    uint64_t segment_bytes = kLogSegmentBytes;
  };

  // Makes a log with these records in an existing, empty folder. Durable on return.
  // ALREADY_EXISTS if there is a log.
  static absl::Status Create(FileSystem& fs, const std::string& folder, const Options& options,
                             const std::vector<WalRecord>& records);

  // Reads the log into *replay (fresh) and opens it for writing.
  // NOT_FOUND: no log in the folder. FAILED_PRECONDITION / WRONG_CLUSTER: of another cluster or
  // group. DATA_LOSS: damaged; the text names the segment.
  static absl::StatusOr<std::unique_ptr<Wal>> Open(FileSystem& fs, const std::string& folder,
                                                   const Options& options, WalReplay* replay);

  // Appends all records with one write and one sync (more only where a segment ends in between).
  // Durable on return. After a TRIM or RESET removes segments that nobody needs.
  absl::Status Write(const std::vector<WalRecord>& records);

  // Calls of Sync on segments since Open.
  uint64_t syncs() const { return syncs_; }
  size_t segment_count() const { return segments_.size(); }

 private:
  struct Segment {
    uint64_t number = 0;
    uint64_t index_max = 0;  // of the entries in it, overwritten ones included
  };

  Wal(FileSystem& fs, std::string folder, Options options)
      : fs_(fs), folder_(std::move(folder)), options_(std::move(options)) {}

  absl::Status Recover(WalReplay* replay);
  absl::Status ReadSegment(const Segment& segment, bool last, WalReplay* replay);
  absl::Status StartSegment();
  absl::Status WriteAll(const std::vector<WalRecord>& records);
  absl::Status Add(const WalRecord& record);
  absl::Status Flush();
  absl::Status RemoveUnneeded();
  void Note(const WalRecord& record);
  std::string SegmentPath(uint64_t number) const;

  FileSystem& fs_;
  const std::string folder_;
  const Options options_;

  absl::Status failed_;
  std::deque<Segment> segments_;  // ascending, without gaps; the last is written to
  WalHeader header_;              // of the last
  std::unique_ptr<File> file_;    // the last
  uint64_t offset_ = 0;           // in it, where the next write goes
  uint64_t next_lsn_ = 1;
  uint64_t batch_ = 0;  // lsn of the first record of buffer_
  std::string buffer_;  // records of the current batch
  uint64_t syncs_ = 0;
  WalBase state_;  // what all records up to now say
  bool trimmed_ = false;
};

}  // namespace ballast
