// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "common/types/ids.h"

namespace ballast {

// Sequences of one bucket: chunk server and master compare a shard's list bucket by bucket.
inline constexpr uint64_t kBucketSequences = 4096;

// What a chunk server says of one replica and the digest covers.
struct ReplicaFacts {
  uint32_t length_bytes = 0;
  uint32_t crc32c = 0;  // of the whole chunk
  bool corrupt = false;
  friend bool operator==(const ReplicaFacts&, const ReplicaFacts&) = default;
};

// XXH64, seed 0, of handle (8 bytes), length (4), crc32c (4) and corrupt (1: 0 or 1),
// little-endian.
uint64_t ReplicaHash(ChunkHandle handle, const ReplicaFacts& facts);

// The digest of a set of replicas (ShardReport.digest): the sum modulo 2^64 of their hashes, so it
// does not depend on order, and one replica more or less costs one hash. Chunk server and master
// each keep one a shard and compare. Empty set: 0. Misses no single difference; it is no defence
// against a forger.
class ReplicaDigest {
 public:
  void Add(ChunkHandle handle, const ReplicaFacts& facts) { sum_ += ReplicaHash(handle, facts); }
  // Requires: was added with the same facts and not removed since.
  void Remove(ChunkHandle handle, const ReplicaFacts& facts) { sum_ -= ReplicaHash(handle, facts); }
  // All of a set that shares no replica with this one.
  void Add(const ReplicaDigest& other) { sum_ += other.sum_; }
  uint64_t value() const { return sum_; }
  friend bool operator==(const ReplicaDigest&, const ReplicaDigest&) = default;

 private:
  uint64_t sum_ = 0;
};

}  // namespace ballast
