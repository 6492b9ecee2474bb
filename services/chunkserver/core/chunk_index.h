// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "common/base/crc32c.h"
#include "common/types/ids.h"
#include "common/types/limits.h"

namespace ballast::chunkserver {

enum class ReplicaState : uint8_t {
  kUnverified = 0,  // its header is whole; the data were not read since this server's start
  kVerified = 1,    // all of its bytes were checked since this server's start
  kCorrupt = 2,     // a check failed; kept, never served
};

// What is known of a replica without opening its file.
struct ReplicaFacts {
  uint32_t length_bytes = 0;
  Crc32c crc32c;  // of the whole chunk
  ReplicaState state = ReplicaState::kUnverified;
  friend bool operator==(const ReplicaFacts&, const ReplicaFacts&) = default;
};

// The chunks on this server, by handle and thus by shard. Some 30 bytes a chunk.
//
// Concurrency: none; its owner serialises. Pure.
class ChunkIndex {
 public:
  // Adds a chunk; false if it is there already, which is then unchanged.
  // Requires length_bytes <= kChunkBytesMax.
  bool Insert(ChunkHandle handle, const ReplicaFacts& facts);
  // False if there is no such chunk.
  bool SetState(ChunkHandle handle, ReplicaState state);
  // Its state is verified, since `at_s` by the owner's clock. False if there is no such chunk.
  bool SetVerified(ChunkHandle handle, uint32_t at_s);
  bool Erase(ChunkHandle handle);
  std::optional<ReplicaFacts> Find(ChunkHandle handle) const;

  // Calls `visit` in ascending order for the chunks of the shard from sequence `from` on, until it
  // returns false.
  void VisitShard(ShardId shard, uint64_t from,
                  absl::FunctionRef<bool(ChunkHandle, const ReplicaFacts&)> visit) const;

  // The same for all chunks with handles above `after`.
  void Visit(ChunkHandle after,
             absl::FunctionRef<bool(ChunkHandle, const ReplicaFacts&)> visit) const;

  // As Visit, with the time of the last verification; 0 if there was none.
  void VisitVerifications(
      ChunkHandle after,
      absl::FunctionRef<bool(ChunkHandle, const ReplicaFacts&, uint32_t verified_s)> visit) const;

  uint64_t size() const { return chunks_.size(); }
  uint64_t corrupt_count() const { return corrupt_count_; }
  // What the files take on disk (see ChunkFileBytesOnDisk).
  uint64_t bytes_on_disk() const { return bytes_on_disk_; }

 private:
  // Length and state in one word: kChunkBytesMax needs 27 bits.
  struct Packed {
    uint32_t length_and_state;
    uint32_t crc;
    uint32_t verified_s;
  };
  static_assert(kChunkBytesMax < (uint64_t{1} << 30));
  static Packed Pack(const ReplicaFacts& facts, uint32_t verified_s);
  static ReplicaFacts Unpack(const Packed& packed);

  absl::btree_map<uint64_t, Packed> chunks_;
  uint64_t corrupt_count_ = 0;
  uint64_t bytes_on_disk_ = 0;
};

// Bytes that the file of a chunk of this length takes: header, table and data in 4 KiB pages.
uint64_t ChunkFileBytesOnDisk(uint64_t length_bytes);

}  // namespace ballast::chunkserver
