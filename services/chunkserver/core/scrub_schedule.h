// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/types/ids.h"

// Which chunks are to be read and checked next, and how fast, so that each is within the period.
//
// Times are seconds of the *scrub clock*: how long this server has run in all its starts. It has
// nothing to do with the wall clock, so that no jump of that hurts; while the server does not run,
// nothing can be read, and the clock stands still. Pure.

namespace ballast::chunkserver {

inline constexpr size_t kScrubBuckets = 256;

// What reading a chunk costs, in bytes: finding a small one takes as long as reading so many.
uint64_t ScrubCost(uint64_t length_bytes);

// What of the schedule outlives a restart (docs/formats/chunk_server_folder.md): the scrub clock;
// for each of 256 buckets by the handle's last two digits a time at or before the oldest
// verification of a chunk in it, so that a restart never makes a chunk look younger than it is; and
// the chunks known to be corrupt, which a start-up scan takes for whole when only their data are
// damaged.
struct ScrubNote {
  static constexpr size_t kCorruptMax = 4096;  // of more, those with the lowest handles

  uint32_t clock_s = 0;
  std::array<uint32_t, kScrubBuckets> oldest_s = {};
  std::vector<ChunkHandle> corrupt;  // ascending

  std::string Encode() const;
  // DATA_LOSS: damaged, of another format, or a time beyond the clock. Any input is safe.
  static absl::StatusOr<ScrubNote> Decode(absl::string_view bytes);
};

struct ScrubCandidate {
  ChunkHandle handle;
  uint64_t bytes = 0;       // what reading it costs
  bool verified = false;    // since this start
  uint32_t verified_s = 0;  // when, if so
};

struct ScrubPlan {
  struct Item {
    ChunkHandle handle;
    uint64_t bytes = 0;
  };
  std::vector<Item> batch;   // what is to be verified now, in this order
  uint64_t wanted_rate = 0;  // bytes a second that the deadlines ask for
  bool urgent = false;       // a chunk has used up 90 % of the period
  bool behind = false;       // all of it, or the deadlines ask for more than the ceiling
  uint64_t chunks = 0;       // in all
  uint64_t bytes = 0;
  uint32_t oldest_s = 0;  // the oldest verification; the clock if there are no chunks
  ScrubNote note;         // to be made durable

  // Bytes a second: what the deadlines ask for, within floor and ceiling, and of that the part that
  // clients leave (core/foreground_monitor.h), unless it is urgent.
  uint64_t Rate(double foreground_factor) const;
};

// Makes one plan of all chunks of a store. Add each once, in ascending order, or AddCorrupt, which
// has been reported and needs no reading; then Finish.
//
// First come the chunks that were known to be corrupt before this start, so that they are soon
// known again. The rest spreads evenly:
//
// Chunks are read bucket by bucket, the bucket with the oldest verification first: so a bucket as a
// whole gets young, and what a restart takes for older than it is is one bucket.
//
//   last verification  verified since this start: known; else the note's time of its bucket
//   young              verified since this start, less than 1/8 of the period ago: not read again
//   wanted rate        the largest, over all buckets b, of (bytes in b and in buckets with older
//                      verifications) / (oldest verification in b + 75 % of the period - now):
//                      enough for every bucket to be read in time; but at most four times what
//                      reading everything in 75 % of the period takes, so that what is late is made
//                      good without a burst
//   due                a bucket with a chunk not verified since this start, or half a period ago or
//                      longer; all, if the wanted rate is above the floor
class ScrubPlanner {
 public:
  static constexpr size_t kBatchMax = 4096;
  static constexpr uint64_t kRateFloor = 1'000'000;
  static constexpr uint64_t kRateCeiling = 256'000'000;

  // `at_start`: the note as it was found. Requires a period of at least an hour.
  ScrubPlanner(const ScrubNote& at_start, uint32_t now_s, absl::Duration period);

  void Add(const ScrubCandidate& chunk);
  void AddCorrupt(ChunkHandle handle);
  ScrubPlan Finish();

 private:
  struct Bucket {
    bool unverified = false;  // holds a chunk not verified since this start
    uint64_t bytes = 0;
    std::vector<ScrubPlan::Item> items;  // not young; at most kBatchMax
  };

  void Note(ChunkHandle corrupt);

  const ScrubNote at_start_;
  const uint32_t now_s_;
  const uint32_t period_s_;
  std::vector<ScrubPlan::Item> first_;  // known to be corrupt before this start
  ScrubPlan plan_;                      // its note holds the oldest verification of each bucket
  std::array<Bucket, kScrubBuckets> buckets_;
};

}  // namespace ballast::chunkserver
