// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/chunk_index.h"

#include "common/base/check.h"
#include "services/chunkserver/core/chunk_format.h"

namespace ballast::chunkserver {

uint64_t ChunkFileBytesOnDisk(uint64_t length_bytes) {
  return (kChunkPrefixBytes + length_bytes + KiB(4) - 1) / KiB(4) * KiB(4);
}

ChunkIndex::Packed ChunkIndex::Pack(const ReplicaFacts& facts, uint32_t verified_s) {
  CHECK_LE(facts.length_bytes, kChunkBytesMax);
  return Packed{facts.length_bytes | static_cast<uint32_t>(facts.state) << 30, facts.crc32c.value,
                verified_s};
}

ReplicaFacts ChunkIndex::Unpack(const Packed& packed) {
  ReplicaFacts facts;
  facts.length_bytes = packed.length_and_state & ((uint32_t{1} << 30) - 1);
  facts.crc32c = Crc32c{packed.crc};
  facts.state = static_cast<ReplicaState>(packed.length_and_state >> 30);
  return facts;
}

bool ChunkIndex::Insert(ChunkHandle handle, const ReplicaFacts& facts) {
  if (!chunks_.emplace(handle.value(), Pack(facts, 0)).second) {
    return false;
  }
  corrupt_count_ += facts.state == ReplicaState::kCorrupt ? 1 : 0;
  bytes_on_disk_ += ChunkFileBytesOnDisk(facts.length_bytes);
  return true;
}

bool ChunkIndex::SetState(ChunkHandle handle, ReplicaState state) {
  const auto it = chunks_.find(handle.value());
  if (it == chunks_.end()) {
    return false;
  }
  ReplicaFacts facts = Unpack(it->second);
  corrupt_count_ -= facts.state == ReplicaState::kCorrupt ? 1 : 0;
  corrupt_count_ += state == ReplicaState::kCorrupt ? 1 : 0;
  facts.state = state;
  it->second = Pack(facts, it->second.verified_s);
  return true;
}

bool ChunkIndex::SetVerified(ChunkHandle handle, uint32_t at_s) {
  if (!SetState(handle, ReplicaState::kVerified)) {
    return false;
  }
  chunks_.find(handle.value())->second.verified_s = at_s;
  return true;
}

bool ChunkIndex::Erase(ChunkHandle handle) {
  const auto it = chunks_.find(handle.value());
  if (it == chunks_.end()) {
    return false;
  }
  const ReplicaFacts facts = Unpack(it->second);
  corrupt_count_ -= facts.state == ReplicaState::kCorrupt ? 1 : 0;
  bytes_on_disk_ -= ChunkFileBytesOnDisk(facts.length_bytes);
  chunks_.erase(it);
  return true;
}

std::optional<ReplicaFacts> ChunkIndex::Find(ChunkHandle handle) const {
  const auto it = chunks_.find(handle.value());
  if (it == chunks_.end()) {
    return std::nullopt;
  }
  return Unpack(it->second);
}

void ChunkIndex::VisitShard(ShardId shard, uint64_t from,
                            absl::FunctionRef<bool(ChunkHandle, const ReplicaFacts&)> visit) const {
  for (auto it = chunks_.lower_bound(ChunkHandle(shard, from).value()); it != chunks_.end(); ++it) {
    const ChunkHandle handle(it->first);
    if (handle.shard() != shard || !visit(handle, Unpack(it->second))) {
      return;
    }
  }
}

void ChunkIndex::Visit(ChunkHandle after,
                       absl::FunctionRef<bool(ChunkHandle, const ReplicaFacts&)> visit) const {
  for (auto it = chunks_.upper_bound(after.value()); it != chunks_.end(); ++it) {
    if (!visit(ChunkHandle(it->first), Unpack(it->second))) {
      return;
    }
  }
}

void ChunkIndex::VisitVerifications(
    ChunkHandle after,
    absl::FunctionRef<bool(ChunkHandle, const ReplicaFacts&, uint32_t)> visit) const {
  for (auto it = chunks_.upper_bound(after.value()); it != chunks_.end(); ++it) {
    if (!visit(ChunkHandle(it->first), Unpack(it->second), it->second.verified_s)) {
      return;
    }
  }
}

}  // namespace ballast::chunkserver
