// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/live_replicas.h"
#include "services/master/core/liveness.h"

namespace ballast::master {

// A correction of a chunk's logged locations.
struct LocationChange {
  ChunkHandle handle;
  ServerList add;
  ServerList drop;
};

// Compares what the log says of where chunks are with what their servers report, and proposes
// corrections:
//   add    the server lives and reports the replica sound, the log does not have it
//   drop   the server lives, its list is complete, and it reports the replica corrupt; or it has
//   not
//          reported it at all for `patience` and two heartbeats (a chunk just written is logged
//          before its servers' next reports)
// A trimmed replica is neither added, dropped nor counted: that is the trim's business.
// Silence, suspicion and death drop nothing: such replicas do not count now, and come back. At most
// kReplicasMax locations are logged. Dropping a location deletes nothing.
// But where there is no room for all, the living come first: a location on a dead server makes room
// for one to be added, and in a record without a free slot, one after the other, what dead servers
// hold or held is given up. So a chunk can be copied however many of its holders have died.
//
// Works through all chunks, a bounded number a step, round and round, and sooner through those that
// were noted. The same walk counts the chunks that are short.
//
// Concurrency: none. Never fails.
class LocationPlanner {
 public:
  struct Inputs {
    absl::FunctionRef<LivenessState(ServerIndex)> liveness;
    absl::FunctionRef<uint64_t(ServerIndex)> heartbeat_count;
    SteadyTime now;
    absl::Duration patience;
  };
  struct Health {
    uint64_t without_live_replica = 0;  // no replica may be read now
    uint64_t below_wanted = 0;          // fewer readable replicas than wanted
  };

  // Chunks to look at soon (LiveReplicas::Ingested::odd). Those beyond a bound are dropped: the
  // walk finds them anyhow.
  void Note(absl::Span<const ChunkHandle> handles);

  // Looks at up to `examine_max` chunks; returns up to `changes_max` changes, by handle. The caller
  // logs them before the next step.
  std::vector<LocationChange> Step(LiveReplicas& replicas, ChunkCatalog& catalog,
                                   const Inputs& inputs, size_t examine_max, size_t changes_max);

  // Of the last full round over all chunks.
  const Health& health() const { return health_; }

 private:
  struct Absence {
    SteadyTime since;
    uint64_t heartbeat_count = 0;
  };
  // Adds what `record` needs to `changes`; true if it must be looked at again soon.
  bool Examine(LiveReplicas& replicas, const Inputs& inputs, ChunkHandle handle,
               const ChunkRecord& record, const TrimSet* trims,
               std::vector<LocationChange>& changes);
  static void MakeRoom(LiveReplicas& replicas, const Inputs& inputs, const ChunkRecord& record,
                       const TrimSet* trims, LocationChange& change);
  void Count(const LiveReplicas& replicas, const Inputs& inputs, ChunkHandle handle,
             const ChunkRecord& record, const TrimSet* trims);
  void ForgetAbsences(ChunkHandle handle);

  absl::btree_set<ChunkHandle> noted_;
  ChunkHandle next_noted_;
  absl::btree_map<std::pair<ChunkHandle, ServerIndex>, Absence> absences_;
  ChunkHandle next_;  // where the walk goes on
  Health counting_;
  Health health_;
};

}  // namespace ballast::master
