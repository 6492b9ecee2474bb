// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/chunk_picture.h"
#include "services/master/core/chunk_walk.h"
#include "services/master/core/repair_planner.h"

namespace ballast::master {

// What lacks something, most urgent first. The order is that in which needs are offered.
enum class NeedClass : uint8_t {
  kOneLeft = 0,  // one replica is present, more are wanted
  kTwoLeft = 1,
  kMoreLeft = 2,
  kDrain = 3,    // on a server that is to be emptied
  kDamaged = 4,  // a damaged replica beside those that are wanted
  kSurplus = 5,  // more replicas than wanted
};
inline constexpr size_t kNeedClasses = 6;

// Finds the chunks that lack something and offers them by urgency.
//
// It walks through all chunks, a bounded number a step, round and round, and sooner looks at those
// that were noted. A need is only ever a reason to look: whoever takes it assesses the chunk anew.
// Shards without a lens (not settled) are passed over: unknown is not lost. At most kNeedsMax
// chunks of a class are kept; what does not fit is found in a later round.
//
// Concurrency: none. Never fails. Nothing is kept of a chunk that lacks nothing.
class RepairQueue {
 public:
  static constexpr size_t kNeedsMax = 65536;

  // Of a whole round.
  struct Counts {
    uint64_t chunks = 0;
    uint64_t lost = 0;
    std::array<uint64_t, kNeedClasses> needs{};
    uint64_t unsettled_shards = 0;
    // By server that drains: bytes and chunks that are still to be copied away.
    struct Left {
      uint64_t chunks = 0;
      uint64_t bytes = 0;
    };
    absl::btree_map<ServerIndex, Left> draining;
    uint64_t bytes_short = 0;  // that copies for kOneLeft to kMoreLeft will write
  };

  // Something has happened that concerns many chunks: a new round begins with the next step, or,
  // if one that was begun so is under way, when that has ended. So news that never cease keep no
  // round from ending, nor the chunks at its end from being looked at.
  void BeginRound();
  // True between BeginRound and the end of a round that has begun since.
  bool fresh_round() const { return fresh_; }

  // Chunks to look at soon. Those beyond a bound are dropped: the walk finds them anyhow.
  void Note(absl::Span<const ChunkHandle> handles);

  // Looks at up to `examine_max` chunks. Returns how many it looked at.
  size_t Step(const ChunkWorld& world, size_t examine_max);

  enum class Verdict {
    kTaken,    // is being dealt with, or lacks nothing any more: forget it
    kBusy,     // could be dealt with but for limits: offer it again
    kBlocked,  // nothing can be done now: forget it until the next round
  };
  // Offers needs of the classes first..last in order, at most `offers_max`, and of one class no
  // more after `busy_max` were busy. In a class it goes on where it ended the last time, round and
  // round, so that those that wait for one slow server do not hide the others. True: there were
  // more, and not all of these were busy, so that it makes sense to go on soon.
  bool Offer(NeedClass first, NeedClass last, size_t offers_max, size_t busy_max,
             absl::FunctionRef<Verdict(ChunkHandle, NeedClass)> take);

  bool HasNeeds(NeedClass first, NeedClass last) const;
  // Of the last whole round.
  const Counts& counts() const { return counts_; }
  uint64_t rounds() const { return rounds_; }

 private:
  void Look(const ChunkWorld& world, const ShardLens& lens, ChunkHandle handle,
            const ChunkRecord& record, bool count);
  void Set(ChunkHandle handle, NeedClass need);
  void Forget(ChunkHandle handle);
  void EndRound();

  absl::btree_set<ChunkHandle> noted_;
  std::array<absl::btree_set<ChunkHandle>, kNeedClasses> needs_;
  std::array<ChunkHandle, kNeedClasses> next_offer_;
  absl::btree_map<ChunkHandle, NeedClass> class_of_;
  ChunkWalk walk_;
  bool fresh_ = false;
  bool again_ = false;  // another fresh round follows
  uint64_t rounds_ = 0;
  Counts counting_;
  Counts counts_;
};

// The class of an assessed need; kNone and kLost have none.
std::optional<NeedClass> ClassOf(const Assessment& assessment);

}  // namespace ballast::master
