// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/live_replicas.h"

namespace ballast::master {

// A replica that may be deleted, with the fact its server must find before it does so.
struct GarbageReplica {
  ServerIndex server;
  ChunkHandle handle;
  uint32_t length_bytes = 0;
};

// Finds replicas that are provable garbage.
//
// A replica is *provable garbage* if its handle's standing is kGarbage (allocated by this shard's
// log once, and by now in no chunk table, draft or doomed list: both are final, handles are never
// used twice, so not even a master that was deposed meanwhile can be wrong about it), its shard is
// settled (every active server reported it or was silent for a full window), its server is alive
// and the server's list of the shard is complete. Nothing is concluded from absence.
// A replica that the metadata cannot account for is *quarantined*: counted, shown, never in the
// result.
//
// Level-triggered: it derives everything anew from what servers report, a bounded number of
// replicas a step, round and round; a lost order is found again as long as the replica is reported.
// Corrupt replicas of referenced chunks are never garbage.
//
// Concurrency: none. Never fails.
class GarbagePlanner {
 public:
  struct Gates {
    // The caller has applied its term's first entry; all else is asked only then.
    bool leads = false;
    absl::FunctionRef<bool(ServerIndex)> is_alive;
    absl::FunctionRef<bool(ShardId)> is_settled;
  };

  // Looks at up to `examine_max` reported replicas and calls `emit` for those that are garbage.
  void Step(const LiveReplicas& replicas, const ChunkCatalog& catalog, const Gates& gates,
            size_t examine_max, absl::FunctionRef<void(const GarbageReplica&)> emit);

  // Handles on that server that this group cannot account for, as of the last full round.
  uint64_t QuarantinedCount(ServerIndex server) const;
  // Full rounds that have ended.
  uint64_t rounds() const { return rounds_; }

 private:
  ChunkHandle next_handle_;
  ServerIndex next_server_;
  uint64_t rounds_ = 0;
  absl::btree_map<ServerIndex, uint64_t> counting_;     // of the round under way
  absl::btree_map<ServerIndex, uint64_t> quarantined_;  // of the last one
};

}  // namespace ballast::master
