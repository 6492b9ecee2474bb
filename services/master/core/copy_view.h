// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_table.h"
#include "services/master/core/command_ledger.h"
#include "services/master/core/liveness.h"

namespace ballast::master {

// What a leader knows now of one replica of a chunk (docs/protocols/moves.md: "Which replicas
// count"). At most one of counts, expected, trimmed is true.
struct ReplicaStanding {
  ServerIndex server;
  bool counts = false;    // reported sound in this term, not trimmed, its server neither dead nor
                          // removed nor out of this cluster's reach (no_placement)
  bool expected = false;  // would count, but is only logged: its server, which was heard of, has
                          // not reported it (yet)
  bool logged = false;    // the log names it as a location
  bool trimmed = false;
  bool corrupt = false;
  bool verified = false;  // reported as such
  bool current = false;   // its server's list of the shard is complete on its present session
  bool alive = false;     // its server is alive, not only suspect

  // A replica that another one's delete may rely on.
  bool firm() const { return counts && verified && current; }
};

struct ChunkStanding {
  ChunkFacts facts;
  // There are as many holders as a record can name, so another one would not be seen.
  bool full = false;
  absl::InlinedVector<ReplicaStanding, ChunkRecord::kSlots> replicas;  // by server

  // Null if nothing is known of it there.
  const ReplicaStanding* Find(ServerIndex server) const {
    for (const ReplicaStanding& replica : replicas) {
      if (replica.server == server) return &replica;
    }
    return nullptr;
  }
};

// What a leader knows now of a chunk server.
struct ServerStanding {
  bool registered = false;  // and not removed
  bool removed = false;     // the registry says so: no process that runs now speaks for it again
  LivenessState liveness = LivenessState::kDead;
  std::optional<Liveness::Holder> holder;  // the process that speaks for it
  bool loading = false;                    // its start-up scan is running
  bool takes_replicas = false;             // active, placement allowed, its disk sound
  uint64_t free_bytes = 0;                 // after what is being written and was promised
  uint64_t heartbeat_count = 0;            // of this term

  bool gone() const { return !registered || liveness == LivenessState::kDead; }
};

// All that decisions about copies and trims rest on, as of one moment. They keep no picture of
// their own, so that nothing they believe outlives the facts.
//
// Concurrency: the master's executor.
class CopyView {
 public:
  virtual ~CopyView() = default;

  // None if there is no such chunk in a shard served here.
  virtual std::optional<ChunkStanding> FindChunk(ChunkHandle handle) const = 0;
  virtual ServerStanding FindServer(ServerIndex server) const = 0;
  // Length of what the server reports to hold under this handle, be it sound or not.
  virtual std::optional<uint32_t> HeldBytes(ServerIndex server, ChunkHandle handle) const = 0;
  virtual bool IsTrimmed(ServerIndex server, ChunkHandle handle) const = 0;
  virtual bool IsListComplete(ServerIndex server, ShardId shard) const = 0;
  // Every server has reported the shard in this term or is dead.
  virtual bool IsSettled(ShardId shard) const = 0;
  virtual bool IsUnderWay(ServerIndex server, OrderKind kind, ChunkHandle handle) const = 0;
};

}  // namespace ballast::master
