// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "services/master/core/copy_view.h"

namespace ballast::master {

// A CopyView whose facts the test sets. Servers are made alive, empty and with room.
class FakeCopyView final : public CopyView {
 public:
  using Place = std::pair<ChunkHandle, ServerIndex>;

  ServerStanding& Server(uint32_t index) {
    const auto [it, is_new] = servers.try_emplace(ServerIndex(index));
    if (is_new) {
      it->second.registered = true;
      it->second.liveness = LivenessState::kAlive;
      it->second.holder = Liveness::Holder{1, index};
      it->second.takes_replicas = true;
      it->second.free_bytes = 1 << 30;
    }
    return it->second;
  }
  ChunkFacts& Chunk(ChunkHandle handle, uint32_t wanted) {
    chunks[handle] = {1000, Crc32c{7}, wanted};
    return chunks[handle];
  }
  // A replica that is reported, sound, verified and logged.
  ReplicaStanding& Put(ChunkHandle handle, uint32_t index) {
    Server(index);
    ReplicaStanding& replica = replicas[{handle, ServerIndex(index)}];
    replica.server = ServerIndex(index);
    replica.counts = replica.verified = replica.logged = true;
    return replica;
  }
  void Trim(ChunkHandle handle, uint32_t index) {
    ReplicaStanding& replica = replicas[{handle, ServerIndex(index)}];
    replica.counts = replica.expected = false;
    replica.trimmed = true;
  }

  std::optional<ChunkStanding> FindChunk(ChunkHandle handle) const override {
    const auto found = chunks.find(handle);
    if (found == chunks.end()) return std::nullopt;
    ChunkStanding chunk;
    chunk.facts = found->second;
    chunk.full = full.contains(handle);
    for (auto it = replicas.lower_bound({handle, ServerIndex(0)});
         it != replicas.end() && it->first.first == handle; ++it) {
      ReplicaStanding replica = it->second;
      const ServerStanding server = FindServer(replica.server);
      replica.counts &= !server.gone();
      replica.expected &= !server.gone();
      replica.alive = server.liveness == LivenessState::kAlive;
      replica.current = IsListComplete(replica.server, handle.shard());
      chunk.replicas.push_back(replica);
    }
    return chunk;
  }
  ServerStanding FindServer(ServerIndex server) const override {
    const auto it = servers.find(server);
    return it == servers.end() ? ServerStanding() : it->second;
  }
  std::optional<uint32_t> HeldBytes(ServerIndex server, ChunkHandle handle) const override {
    if (specials.contains({handle, server})) return 999;
    const auto it = replicas.find({handle, server});
    if (it == replicas.end() || it->second.expected) return std::nullopt;
    return 1000;
  }
  bool IsTrimmed(ServerIndex server, ChunkHandle handle) const override {
    const auto it = replicas.find({handle, server});
    return it != replicas.end() && it->second.trimmed;
  }
  bool IsListComplete(ServerIndex server, ShardId) const override {
    return !incomplete.contains(server);
  }
  bool IsSettled(ShardId) const override { return settled; }
  bool IsUnderWay(ServerIndex server, OrderKind kind, ChunkHandle handle) const override {
    return under_way.contains({server, kind, handle});
  }

  std::map<ServerIndex, ServerStanding> servers;
  std::map<ChunkHandle, ChunkFacts> chunks;
  std::map<Place, ReplicaStanding> replicas;
  std::set<Place> specials;  // held, with facts that do not fit
  std::set<ChunkHandle> full;
  std::set<ServerIndex> incomplete;
  std::set<std::tuple<ServerIndex, OrderKind, ChunkHandle>> under_way;
  bool settled = true;
};

}  // namespace ballast::master
