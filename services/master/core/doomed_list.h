// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_table.h"
#include "services/master/core/results.h"
#include "services/master/core/runs.h"

namespace ballast::master {

// Chunks of one replaced or deleted generation.
struct DoomedEntry {
  uint64_t due_ms = 0;  // group time; removable from then on
  std::string key;
  Generation generation;
  uint64_t size_bytes = 0;
  Runs chunks;            // in object order; what is left
  bool removing = false;  // some are gone: no longer readable
};

// The doomed chunks of one shard, ordered by (due time, generation). They count as referenced, and
// readers that began before the change may go on reading, until their removal is logged.
//
// Concurrency: none.
class DoomedList {
 public:
  size_t size() const { return entries_.size(); }
  uint64_t handle_count() const { return handle_count_; }

  // Requires: a generation not in the list; at least one chunk.
  void Add(DoomedEntry entry);

  // The entry of this key and generation; null if there is none (any more).
  const DoomedEntry* Find(absl::string_view key, Generation generation) const;

  // True if some entry is due.
  bool HasDue(uint64_t now_ms) const {
    return !entries_.empty() && entries_.begin()->first.first <= now_ms;
  }

  // Takes up to `handles_max` handles off due entries, earliest due first: fn(uint64_t sequence).
  template <typename Fn>
  void TakeDue(uint64_t now_ms, uint64_t handles_max, Fn&& fn) {
    while (handles_max > 0 && HasDue(now_ms)) {
      DoomedEntry& entry = entries_.begin()->second;
      entry.removing = true;
      while (handles_max > 0 && !entry.chunks.empty()) {
        Run& run = entry.chunks.back();
        fn(run.end() - 1);
        --handles_max;
        --handle_count_;
        if (--run.count == 0) entry.chunks.pop_back();
      }
      if (entry.chunks.empty()) {
        due_of_.erase(entry.generation);
        entries_.erase(entries_.begin());
      }
    }
  }

  // --- image ---
  template <typename Fn>
  void Export(Fn&& fn) const {
    for (const auto& [order, entry] : entries_) fn(ToProto(entry));
  }
  // False if it breaks a rule, comes out of order, or names chunks that `table` does not hold or
  // has marked already; its chunks are then marked.
  bool Import(const mlog::Doomed& proto, uint64_t last_generation, ChunkTable& table);

 private:
  static mlog::Doomed ToProto(const DoomedEntry& entry);

  absl::btree_map<std::pair<uint64_t, Generation>, DoomedEntry>
      entries_;  // by (due_ms, generation)
  absl::btree_map<Generation, uint64_t> due_of_;
  uint64_t handle_count_ = 0;
};

}  // namespace ballast::master
