// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/container/btree_map.h"
#include "common/types/ids.h"
#include "services/chunkserver/core/fence_table.h"

namespace ballast::chunkserver {

// Recognises Deletes that come too late: those that a leader gave before it asked for the same
// chunk to be kept or copied here, and that are delivered after that. A stream keeps its order, but
// a Delete may have waited in a relay, or on a stream that another has replaced.
//
// Within one fence pair, that is, one leader's term, commands bear ascending ids; so a Delete is
// late if its pair is that of the chunk's last Keep or Replicate, and its id is lower. Deletes of
// lower pairs are the fence table's business. Guarantees: a late one is recognised for as long as
// this object lives. Of the chunks asked for longest ago, beyond `chunks_max`, only the highest id
// of each shard is remembered; then a Delete of another chunk of that shard may be taken for late,
// which costs its master one more try with a new id. What is asked of another process of this
// server comes on streams of that process, so nothing need survive a restart.
//
// Concurrency: none; its owner serialises. Pure.
class LateDeletes {
 public:
  explicit LateDeletes(size_t chunks_max) : chunks_max_(chunks_max) {}

  // A command came in that wants the chunk to be here.
  void Want(ChunkHandle handle, FencePair pair, uint64_t command_id);

  bool IsLate(ChunkHandle handle, FencePair pair, uint64_t command_id) const;

  // How many chunks are remembered one by one.
  size_t size() const { return wanted_.size(); }

 private:
  // When something was asked for last.
  struct Asked {
    FencePair pair;
    uint64_t command_id = 0;
    friend constexpr auto operator<=>(const Asked&, const Asked&) = default;
  };
  struct Order {
    ChunkHandle handle;
    Asked asked;
  };
  static bool IsBefore(FencePair pair, uint64_t command_id, const Asked& asked) {
    return pair == asked.pair && command_id < asked.command_id;
  }

  const size_t chunks_max_;
  absl::btree_map<ChunkHandle, Asked> wanted_;
  std::deque<Order> order_;  // as they came; those that were asked for again later are out of date
  absl::btree_map<ShardId, Asked> forgotten_;  // the highest of the shard's that left wanted_
};

}  // namespace ballast::chunkserver
