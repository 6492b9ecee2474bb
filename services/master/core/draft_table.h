// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/base/crc32c.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_table.h"
#include "services/master/core/results.h"
#include "services/master/core/runs.h"

namespace ballast::master {

// A large write that has begun: the chunk handles it owns and the chunks sealed so far.
//
// The *prefix* is the sealed positions 0, 1, 2, ... without a gap. Its size and checksum are kept
// up to date chunk by chunk, so that a commit of 64 Ki chunks computes nothing.
class Draft {
 public:
  struct PositionedRun {
    uint64_t position = 0;
    Run run;
  };

  DraftId id;
  std::string key;
  uint32_t wanted_replicas = 0;
  uint32_t required_replicas = 0;
  uint64_t renewed_ms = 0;  // group time
  uint64_t expiry_ms = 0;   // unrenewed for so long: may be ended

  uint64_t due_ms() const;  // renewed_ms + expiry_ms, not beyond the largest number
  const Runs& allocated() const { return allocated_; }
  uint64_t allocated_count() const { return allocated_count_; }
  bool Owns(uint64_t sequence) const;

  // Sealed chunks in and behind the prefix.
  uint64_t sealed_count() const { return prefix_count_ + pending_.size(); }
  // The chunk sealed at a position; 0 = none.
  uint64_t SequenceAt(uint64_t position) const;

  // Places a chunk that `table` holds at a free position.
  void Seal(uint64_t position, uint64_t sequence, const ChunkTable& table);

  uint64_t prefix_count() const { return prefix_count_; }
  uint64_t prefix_bytes() const { return prefix_bytes_; }
  Crc32c prefix_crc32c() const { return prefix_crc32c_; }
  // All chunks of the prefix but the last have the length of the first, and the last is not longer.
  bool prefix_even() const { return prefix_even_; }
  // The prefix in object order.
  Runs PrefixRuns() const;

  // fn(PositionedRun) for all sealed chunks, by position, as few runs as possible.
  template <typename Fn>
  void ForEachSealedRun(Fn&& fn) const {
    for (const PositionedRun& part : SealedRuns()) fn(part);
  }

 private:
  friend class DraftTable;
  std::vector<PositionedRun> SealedRuns() const;
  void ExtendPrefix(uint64_t sequence, const ChunkTable& table);

  Runs allocated_;  // ascending
  uint64_t allocated_count_ = 0;
  std::vector<PositionedRun> prefix_;
  uint64_t prefix_count_ = 0;
  uint64_t prefix_bytes_ = 0;
  Crc32c prefix_crc32c_;
  uint32_t first_length_ = 0;
  uint32_t last_length_ = 0;
  bool prefix_even_ = true;
  absl::btree_map<uint32_t, uint64_t> pending_;  // position -> sequence, beyond the prefix
};

// The drafts of one shard. Concurrency: none. Pointers stay valid until that draft is erased.
class DraftTable {
 public:
  size_t size() const { return drafts_.size(); }

  // Null if it has ended or never was.
  const Draft* Find(DraftId id) const;
  Draft* Find(DraftId id);

  // Requires: a new id. `draft` owns no handles yet.
  Draft& Insert(Draft draft);
  void Erase(DraftId id);
  void Renew(Draft& draft, uint64_t now_ms);
  // Gives the draft a run of handles above all that any draft has. Requires: count > 0.
  void Allocate(Draft& draft, Run run);

  // True if some draft owns this handle, sealed or not.
  bool Owns(uint64_t sequence) const;

  // Up to `limit` drafts whose due time has come, earliest first.
  std::vector<DraftId> Due(uint64_t now_ms, size_t limit) const;

  // fn(const Draft&) for each, by id.
  template <typename Fn>
  void ForEach(Fn&& fn) const {
    for (const auto& [id, draft] : drafts_) fn(static_cast<const Draft&>(*draft));
  }

  // --- image ---
  template <typename Fn>
  void Export(Fn&& fn) const {
    for (const auto& [id, draft] : drafts_) fn(ToProto(*draft));
  }
  // False if it breaks a rule, comes out of order, or seals what `table` does not hold or has
  // marked already; its chunks are then marked.
  bool Import(const mlog::Draft& proto, uint64_t allocated_mark, ChunkTable& table);

 private:
  struct OwnedRun {
    uint64_t end = 0;
    DraftId draft;
  };
  static mlog::Draft ToProto(const Draft& draft);

  absl::btree_map<DraftId, std::unique_ptr<Draft>> drafts_;
  absl::btree_set<std::pair<uint64_t, DraftId>> by_due_;
  absl::btree_map<uint64_t, OwnedRun> owned_;  // by first sequence; disjoint
};

}  // namespace ballast::master
