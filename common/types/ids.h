// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/strong_id.h"

// The ids of the system. Conventions, stated once: configurations, generations, Raft terms and
// indexes count from 1 and 0 means "none"; shard numbers count from 0; ranges are half-open.

namespace ballast {

// One of the S slices of the metadata; 0 <= id < S <= 65536.
using ShardId = StrongId<struct ShardIdTag, uint32_t>;

// A replica group of masters; 1 and up. 0 = no group (before the first Join).
using GroupId = StrongId<struct GroupIdTag, uint32_t>;

// A member of a replicated log's group, unique in it; 1 and up.
using NodeId = StrongId<struct NodeIdTag, uint32_t>;

// Number of a configuration; the first is 1, without gaps. 0 = none yet.
using ConfigVersion = StrongId<struct ConfigVersionTag, uint64_t>;

using RaftTerm = StrongId<struct RaftTermTag, uint64_t>;
using RaftIndex = StrongId<struct RaftIndexTag, uint64_t>;

// Dense number that the registry gives a chunk server when it registers, never used again; 1 and
// up, below 65536. The short form of its UUID in chunk tables. 0 = none.
using ServerIndex = StrongId<struct ServerIndexTag, uint32_t>;

// Counts the changes of one object; 0 = does not exist.
using Generation = StrongId<struct GenerationTag, uint64_t>;

// A writer's draft: shard (16 bits) + sequence (48 bits), never used twice.
using DraftId = StrongId<struct DraftIdTag, uint64_t>;

// A client's session at one shard: shard (16 bits) + sequence (48 bits), never used twice.
using SessionId = StrongId<struct SessionIdTag, uint64_t>;

// A chunk: shard (16 bits) + sequence (48 bits), never used twice. The shard is that of the object
// the chunk was made for. Sequences count from 1 in each shard.
class ChunkHandle {
 public:
  static constexpr int kSequenceBits = 48;
  static constexpr uint64_t kSequenceMax = (uint64_t{1} << kSequenceBits) - 1;

  constexpr ChunkHandle() = default;
  explicit constexpr ChunkHandle(uint64_t value) : value_(value) {}
  constexpr ChunkHandle(ShardId shard, uint64_t sequence)
      : value_((uint64_t{shard.value()} << kSequenceBits) | sequence) {}

  constexpr uint64_t value() const { return value_; }
  constexpr ShardId shard() const {
    return ShardId(static_cast<uint32_t>(value_ >> kSequenceBits));
  }
  constexpr uint64_t sequence() const { return value_ & kSequenceMax; }

  friend constexpr auto operator<=>(const ChunkHandle&, const ChunkHandle&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const ChunkHandle& c) {
    return H::combine(std::move(h), c.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, const ChunkHandle& c) {
    return out << c.ToString();
  }

  // 16 lower-case hexadecimal digits, the form in file names, log lines and the CLI.
  std::string ToString() const { return absl::StrFormat("%016x", value_); }

 private:
  uint64_t value_ = 0;
};

}  // namespace ballast
