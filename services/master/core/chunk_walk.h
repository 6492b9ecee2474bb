// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/chunk_picture.h"

namespace ballast::master {

// What a walk over chunks looks at.
struct ChunkWorld {
  ChunkCatalog& catalog;
  const ClusterView& view;
  // Null for shards that are not settled (LeaderState::IsSettled): they are passed over, since
  // unknown is not lost.
  absl::FunctionRef<const ShardLens*(ShardId)> lens;
  uint32_t heat_epoch = 0;  // heat.h
};

// A walk over all chunks of a group, a bounded number at a time, in the order of handles. Chunks
// that come or go while it is under way are seen or not. Heat is brought up to date as it goes.
// Concurrency: none.
class ChunkWalk {
 public:
  // Visits at most `visits_max` chunks and a few (less than a page of the table). Adds to `visited`
  // how many. True when the end has been reached; the next step begins anew.
  bool Step(const ChunkWorld& world, size_t visits_max, size_t& visited,
            absl::FunctionRef<void(const ShardLens&, ChunkHandle, const ChunkRecord&)> visit) {
    for (const ShardId shard : world.catalog.owned_shards()) {
      if (shard < shard_) continue;
      if (shard > shard_) {
        shard_ = shard;
        sequence_ = 0;
      }
      const ShardLens* const lens = world.lens(shard);
      ChunkTable* const table = world.catalog.chunks(shard);
      if (lens == nullptr || table == nullptr) {
        ++skipped_;
        shard_ = shard.Next();
        sequence_ = 0;
        continue;
      }
      while (const std::optional<uint64_t> first = table->FirstFrom(sequence_)) {
        if (visited >= visits_max) {
          return false;
        }
        const uint64_t end = (*first / ChunkTable::kPageRecords + 1) * ChunkTable::kPageRecords;
        table->DecayHeat(*first, end, world.heat_epoch);
        table->ForEach(*first, end, [&](uint64_t sequence, const ChunkRecord& record) {
          ++visited;
          visit(*lens, ChunkHandle(shard, sequence), record);
        });
        sequence_ = end;
      }
      shard_ = shard.Next();
      sequence_ = 0;
    }
    Restart();
    return true;
  }

  void Restart() {
    shard_ = ShardId(0);
    sequence_ = 0;
    skipped_before_ = std::exchange(skipped_, 0);
  }
  // Nothing was looked at yet.
  bool at_start() const { return shard_ == ShardId(0) && sequence_ == 0; }
  // Shards that the last whole walk passed over.
  uint64_t skipped_shards() const { return skipped_before_; }

 private:
  ShardId shard_;
  uint64_t sequence_ = 0;
  uint64_t skipped_ = 0;
  uint64_t skipped_before_ = 0;
};

}  // namespace ballast::master
