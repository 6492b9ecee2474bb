// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/types/ids.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/chunkserver/core/chunk_index.h"

namespace ballast::chunkserver {

// Makes the chunk reports for one master: of each shard the full list in pages, then what changed,
// each with the digest of what the master knows after it.
//
// The picture it keeps is the master's: which handles of which shards it has been told, and of
// every changed chunk what it was told. So digests are exact although the chunks change between the
// pages of a list. Nothing is acknowledged: a lost message ends the stream, and a new stream begins
// with full lists (Start), which is also the answer to a digest that does not fit.
//
// Concurrency: none; its owner serialises, and calls OnChange for each change of the index. Pure.
// Lifetime: `index` must outlive it.
class ReportBuilder {
 public:
  explicit ReportBuilder(const ChunkIndex& index) : index_(index) {}

  // The shard's full list comes next, from its first page, whatever was sent before.
  void Start(ShardId shard);
  // The shard is no longer reported to this master.
  void Stop(ShardId shard);
  bool Reports(ShardId shard) const { return shards_.count(shard) != 0; }

  // To be called after each change of the index, with the chunk's facts before it (none: it was not
  // there). Chunks of shards that are not reported are ignored.
  void OnChange(ChunkHandle handle, const std::optional<ReplicaFacts>& before);

  // Counts a read, for heat. Kept for at most kHeatMax chunks between two reports.
  void OnRead(ChunkHandle handle);
  static constexpr size_t kHeatMax = 16384;

  // True if Build would report something beyond heat and digests.
  bool HasNews() const { return !news_.empty(); }

  // Appends reports of at most `replicas_max` replicas and removals and at most `shards_max`
  // shards. With `with_digests`, what is left of shards_max goes to digests of further shards in
  // rotation and heat is added.
  void Build(size_t replicas_max, size_t shards_max, bool with_digests,
             google::protobuf::RepeatedPtrField<v1::ShardReport>* out);

 private:
  struct Shard {
    bool listing = true;  // the full list is not complete
    uint64_t next = 0;    // while listing: the master knows nothing from this sequence on
    uint64_t digest = 0;  // of what the master was told
    uint64_t count = 0;
    // Chunks whose facts differ from what the master was told, with what it was told.
    absl::btree_map<ChunkHandle, std::optional<ReplicaFacts>> changed;
  };

  // Each appends to `report` and returns how many replicas and removals it used.
  size_t ListPage(ShardId id, Shard& shard, size_t replicas_max, v1::ShardReport* report);
  size_t Changes(Shard& shard, size_t replicas_max, v1::ShardReport* report);
  void Heat(google::protobuf::RepeatedPtrField<v1::ShardReport>* out, size_t replicas_max);

  const ChunkIndex& index_;
  absl::btree_map<ShardId, Shard> shards_;
  absl::btree_set<ShardId> news_;  // shards with a list or changes to send
  ShardId next_news_;              // rotation, so that no shard waits for a large one
  ShardId next_digest_;
  absl::btree_map<ChunkHandle, uint32_t> heat_;
};

}  // namespace ballast::chunkserver
