// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/leader_copy_view.h"

#include <algorithm>

namespace ballast::master {

ReplicaStanding LeaderCopyView::Judge(ServerIndex server, uint8_t flags, ChunkHandle handle) const {
  const v1::RegisteredServer* const entry = leader_.directory().Find(server);
  const LivenessState liveness = leader_.liveness.state(server);
  const bool heard = liveness == LivenessState::kAlive || liveness == LivenessState::kSuspect;
  // Until its list was complete in this term, live flags may be an earlier term's.
  const bool known = leader_.replicas.IsKnown(server, handle.shard());
  ReplicaStanding standing;
  standing.server = server;
  standing.logged = (flags & ChunkRecord::kLogged) != 0;
  standing.trimmed = IsTrimmed(server, handle);
  standing.corrupt = known && (flags & ChunkRecord::kCorrupt) != 0;
  standing.verified = known && (flags & ChunkRecord::kVerified) != 0;
  standing.current = leader_.replicas.IsComplete(server, handle.shard());
  standing.alive = liveness == LivenessState::kAlive;
  const bool may_count = entry != nullptr && entry->state() != v1::SERVER_STATE_REMOVED &&
                         !entry->no_placement() && !standing.trimmed && heard;
  const bool live = known && (flags & ChunkRecord::kLive) != 0;
  standing.counts = may_count && live;
  standing.expected = may_count && standing.logged && !live && !standing.corrupt;
  return standing;
}

std::optional<ChunkStanding> LeaderCopyView::FindChunk(ChunkHandle handle) const {
  ChunkTable* const table = catalog_.chunks(handle.shard());
  const ChunkRecord* const record = table == nullptr ? nullptr : table->Find(handle.sequence());
  if (record == nullptr) {
    return std::nullopt;
  }
  ChunkStanding chunk;
  chunk.facts = record->facts();
  record->ForEachReplica([&](ServerIndex server, uint8_t flags) {
    chunk.replicas.push_back(Judge(server, flags, handle));
  });
  chunk.full = chunk.replicas.size() == static_cast<size_t>(ChunkRecord::kSlots);
  std::sort(chunk.replicas.begin(), chunk.replicas.end(),
            [](const ReplicaStanding& a, const ReplicaStanding& b) { return a.server < b.server; });
  return chunk;
}

ServerStanding LeaderCopyView::FindServer(ServerIndex server) const {
  ServerStanding standing;
  const v1::RegisteredServer* const entry = leader_.directory().Find(server);
  standing.removed = entry != nullptr && entry->state() == v1::SERVER_STATE_REMOVED;
  if (entry == nullptr || standing.removed) {
    return standing;
  }
  standing.registered = true;
  standing.liveness = leader_.liveness.state(server);
  standing.holder = leader_.liveness.holder(server);
  standing.heartbeat_count = leader_.liveness.heartbeat_count(server);
  if (const ServerReport* const report = leader_.FindReport(server)) {
    standing.loading = report->health == v1::SERVER_HEALTH_LOADING;
    standing.takes_replicas = MayTakeReplicas(*entry) && report->health == v1::SERVER_HEALTH_OK;
    standing.free_bytes = leader_.FreeBytes(server);
  }
  return standing;
}

std::optional<uint32_t> LeaderCopyView::HeldBytes(ServerIndex server, ChunkHandle handle) const {
  const std::optional<ReplicaFacts> facts = leader_.replicas.HeldFacts(server, handle);
  return facts.has_value() ? std::optional<uint32_t>(facts->length_bytes) : std::nullopt;
}

bool LeaderCopyView::IsTrimmed(ServerIndex server, ChunkHandle handle) const {
  const TrimSet* const trims = catalog_.trims(handle.shard());
  return trims != nullptr && trims->Contains(handle.sequence(), server);
}

}  // namespace ballast::master
