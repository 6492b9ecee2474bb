// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "services/master/core/chunk_catalog.h"

namespace ballast::master {

// Chunk tables without a log: tests say what is known, drafted, allocated.
class FakeCatalog final : public ChunkCatalog {
 public:
  explicit FakeCatalog(uint32_t shards) : shards_(shards) {
    for (uint32_t i = 0; i < shards; ++i) {
      owned_.push_back(ShardId(i));
      tables_[ShardId(i)];
      trims_[ShardId(i)];
    }
  }

  uint32_t shard_count() const override { return shards_; }
  const std::vector<ShardId>& owned_shards() const override { return owned_; }
  ChunkTable* chunks(ShardId shard) override {
    const auto it = tables_.find(shard);
    return it == tables_.end() ? nullptr : &it->second;
  }
  const TrimSet* trims(ShardId shard) const override {
    const auto it = trims_.find(shard);
    return it == trims_.end() ? nullptr : &it->second;
  }
  HandleStanding StandingOf(ChunkHandle handle) const override {
    const auto table = tables_.find(handle.shard());
    if (table == tables_.end()) {
      return HandleStanding::kNotOurs;
    }
    if (table->second.Find(handle.sequence()) != nullptr || drafted.count(handle) > 0) {
      return HandleStanding::kReferenced;
    }
    return handle.sequence() <= allocated_mark && handle.sequence() > quarantined_below
               ? HandleStanding::kGarbage
               : HandleStanding::kUnaccounted;
  }

  ChunkRecord& AddChunk(ChunkHandle handle, const std::vector<uint32_t>& logged,
                        uint32_t length = 1000, uint32_t crc = 7, uint32_t wanted = 3) {
    std::vector<ServerIndex> servers;
    for (uint32_t s : logged) {
      servers.push_back(ServerIndex(s));
    }
    return tables_[handle.shard()].Insert(handle.sequence(), {length, Crc32c{crc}, wanted},
                                          servers);
  }
  TrimSet& mutable_trims(ShardId shard) { return trims_[shard]; }
  void GiveAway(ShardId shard) {
    tables_.erase(shard);
    trims_.erase(shard);
    std::erase(owned_, shard);
  }

  void Take(ShardId shard) {
    tables_[shard];
    trims_[shard];
    owned_.insert(std::lower_bound(owned_.begin(), owned_.end(), shard), shard);
  }

  uint64_t allocated_mark = 1000;
  uint64_t quarantined_below = 0;
  std::set<ChunkHandle> drafted;

 private:
  uint32_t shards_;
  std::vector<ShardId> owned_;
  std::map<ShardId, ChunkTable> tables_;
  std::map<ShardId, TrimSet> trims_;
};

}  // namespace ballast::master
