// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {

// Reads and checks one chunk, piece by piece, so that others come in between.
//
// Guarantees: the file is opened anew, and no cached header is believed; a chunk held to be corrupt
// is read, too. The chunk is verified once the last piece was whole, and corrupt as soon as
// anything is not, or another reader finds it so before the end. What clients have not read lately
// does not stay in the machine's page cache. Concurrency: one thread at a time; every method
// blocks. A chunk that is deleted meanwhile is read to its end, to no effect. Lifetime: the store
// outlives it.
class ChunkVerification {
 public:
  //   NOT_FOUND / CHUNK_NOT_FOUND; DATA_LOSS / CHECKSUM_MISMATCH, and as ChunkStore
  static absl::StatusOr<std::unique_ptr<ChunkVerification>> Start(ChunkStore& store,
                                                                  ChunkHandle handle);

  // Reads the next blocks, as many as fit into `bytes_max` and at least one. True: that was the
  // last, and the chunk is verified. Not to be called after that, nor after an error.
  //   DATA_LOSS / CHECKSUM_MISMATCH
  absl::StatusOr<bool> Step(uint64_t bytes_max);

  const ReplicaFacts& facts() const { return facts_; }

 private:
  ChunkVerification(ChunkStore& store, ChunkHandle handle, const ReplicaFacts& facts, bool cold,
                    uint64_t marks, std::shared_ptr<const OpenChunk> chunk)
      : store_(store),
        handle_(handle),
        facts_(facts),
        cold_(cold),
        marks_(marks),
        chunk_(std::move(chunk)) {}
  void DropCached(uint64_t begin, uint64_t bytes) const;

  ChunkStore& store_;
  const ChunkHandle handle_;
  ReplicaFacts facts_;
  const bool cold_;       // nobody had it open for reading
  const uint64_t marks_;  // the store's, when it began
  const std::shared_ptr<const OpenChunk> chunk_;
  std::vector<char> buffer_;
  uint64_t next_block_ = 0;
};

}  // namespace ballast::chunkserver
