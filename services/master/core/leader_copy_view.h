// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "services/master/core/chunk_catalog.h"
#include "services/master/core/copy_view.h"
#include "services/master/core/leader_state.h"

namespace ballast::master {

// A leader's knowledge as decisions about copies and trims see it: reports, liveness, registry and
// log put together.
//
// Concurrency: the master's executor. Ownership: what it is given outlives it; make one for a step
// and throw it away.
class LeaderCopyView final : public CopyView {
 public:
  LeaderCopyView(LeaderState& leader, ChunkCatalog& catalog) : leader_(leader), catalog_(catalog) {}

  std::optional<ChunkStanding> FindChunk(ChunkHandle handle) const override;
  ServerStanding FindServer(ServerIndex server) const override;
  std::optional<uint32_t> HeldBytes(ServerIndex server, ChunkHandle handle) const override;
  bool IsTrimmed(ServerIndex server, ChunkHandle handle) const override;
  bool IsListComplete(ServerIndex server, ShardId shard) const override {
    return leader_.replicas.IsComplete(server, shard);
  }
  bool IsSettled(ShardId shard) const override { return leader_.IsSettled(shard); }
  bool IsUnderWay(ServerIndex server, OrderKind kind, ChunkHandle handle) const override {
    return leader_.ledger.IsUnderWay(server, kind, handle);
  }

 private:
  ReplicaStanding Judge(ServerIndex server, uint8_t flags, ChunkHandle handle) const;

  LeaderState& leader_;
  ChunkCatalog& catalog_;
};

}  // namespace ballast::master
