// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "services/master/core/chunk_picture.h"
#include "services/master/core/cluster_view.h"

namespace ballast::master {

// A cluster of plain values for planners' tests: servers with bytes, chunks with sound replicas.
class PlannerCluster {
 public:
  struct Chunk {
    ChunkHandle handle;
    uint32_t length_bytes = 0;
    uint32_t wanted = 0;
    uint8_t heat = 0;
    std::set<ServerIndex> servers;
  };

  ServerView& AddServer(uint64_t capacity_bytes, const std::string& zone = "") {
    ServerView server;
    server.server = ServerIndex(static_cast<uint32_t>(servers.size()) + 1);
    server.zone = zone;
    server.capacity_bytes = capacity_bytes;
    server.live = server.accepts = true;
    servers.push_back(server);
    return servers.back();
  }
  Chunk& AddChunk(uint32_t length_bytes, uint32_t wanted, const std::set<ServerIndex>& on) {
    Chunk chunk{ChunkHandle(ShardId(0), chunks.size() + 1), length_bytes, wanted, 0, on};
    for (ServerIndex server : on) Use(server, length_bytes);
    chunks.push_back(chunk);
    return chunks.back();
  }
  void Move(Chunk& chunk, ServerIndex from, ServerIndex to) {
    chunk.servers.erase(from);
    chunk.servers.insert(to);
    servers[from.value() - 1].used_bytes -= chunk.length_bytes;
    Use(to, chunk.length_bytes);
  }
  Chunk& Find(ChunkHandle handle) { return chunks[handle.sequence() - 1]; }

  ClusterView View() {
    for (ServerView& server : servers) {
      server.utilization_pct = server.capacity_bytes == 0
                                   ? 0
                                   : 100.0 * static_cast<double>(server.used_bytes) /
                                         static_cast<double>(server.capacity_bytes);
    }
    return ClusterView(servers);
  }
  ChunkPicture Picture(const ClusterView& view, const Chunk& chunk) const {
    ChunkPicture picture;
    picture.handle = chunk.handle;
    picture.length_bytes = chunk.length_bytes;
    picture.wanted_replicas = chunk.wanted;
    for (ServerIndex server : chunk.servers) {
      ReplicaView& replica = picture.replicas.emplace_back();
      replica.server = server;
      replica.position = view.PositionOf(server);
      replica.counts = replica.verified = view.Find(server)->live;
      replica.draining = replica.counts && view.Find(server)->draining;
    }
    return picture;
  }
  std::set<std::string> Zones(const Chunk& chunk) const {
    std::set<std::string> zones;
    for (ServerIndex server : chunk.servers) zones.insert(servers[server.value() - 1].zone);
    return zones;
  }

  std::vector<ServerView> servers;  // number i at i - 1
  std::vector<Chunk> chunks;        // sequence i at i - 1

 private:
  void Use(ServerIndex server, uint64_t bytes) { servers[server.value() - 1].used_bytes += bytes; }
};

}  // namespace ballast::master
