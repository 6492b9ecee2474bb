// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_table.h"
#include "services/master/core/cluster_view.h"
#include "services/master/core/trim_set.h"

namespace ballast::master {

// What a leader knows of one shard beside its records: which servers' reports mean anything, and
// which replicas are being trimmed.
struct ShardLens {
  ShardId shard;
  std::vector<bool> known;         // by server index: its list of this shard was complete this term
  const TrimSet* trims = nullptr;  // never null when used

  bool Knows(ServerIndex server) const {
    return server.value() < known.size() && known[server.value()];
  }
};

// One replica of a chunk as planners see it.
struct ReplicaView {
  ServerIndex server;
  int position = -1;      // in the cluster view; -1: not registered any more
  bool counts = false;    // live, not trimmed, its server neither dead nor removed
  bool verified = false;  // counts, and its whole checksum was checked lately
  bool expected = false;  // logged and not reported yet by its living server: just written
  bool draining = false;  // present, on a server that is to be emptied
  bool trimmed = false;
  bool damaged = false;  // reported damaged, or with other facts than the log's; not trimmed, on a
                         // living server
  // There is no need for another one in its place.
  bool present() const { return counts || expected; }
};

// Where a chunk is: every server that is known to hold it or to have held it, in any standing.
struct ChunkPicture {
  ChunkHandle handle;
  uint32_t length_bytes = 0;
  uint32_t wanted_replicas = 0;
  absl::InlinedVector<ReplicaView, ChunkRecord::kSlots> replicas;

  int counting() const { return Count(&ReplicaView::counts); }
  int verified() const { return Count(&ReplicaView::verified); }
  bool any_damaged() const { return Count(&ReplicaView::damaged) > 0; }
  int present() const {
    int count = 0;
    for (const ReplicaView& replica : replicas) count += replica.present();
    return count;
  }
  // Those that are present and are to stay.
  int staying() const {
    int count = 0;
    for (const ReplicaView& replica : replicas) count += replica.present() && !replica.draining;
    return count;
  }
  const ReplicaView* Find(ServerIndex server) const {
    for (const ReplicaView& replica : replicas) {
      if (replica.server == server) return &replica;
    }
    return nullptr;
  }

 private:
  int Count(bool ReplicaView::*flag) const {
    int count = 0;
    for (const ReplicaView& replica : replicas) count += replica.*flag;
    return count;
  }
};

inline ChunkPicture PictureOf(const ClusterView& view, const ShardLens& lens, ChunkHandle handle,
                              const ChunkRecord& record) {
  ChunkPicture picture;
  picture.handle = handle;
  picture.length_bytes = record.length_bytes();
  picture.wanted_replicas = record.wanted_replicas();
  const bool any_trims = lens.trims != nullptr && lens.trims->size() > 0;
  record.ForEachReplica([&](ServerIndex server, uint8_t flags) {
    ReplicaView& replica = picture.replicas.emplace_back();
    replica.server = server;
    replica.position = view.PositionOf(server);
    replica.trimmed = any_trims && lens.trims->Contains(handle.sequence(), server);
    const bool reported = (flags & ChunkRecord::kLive) != 0 && lens.Knows(server);
    const bool lives = replica.position >= 0 && view.at(static_cast<size_t>(replica.position)).live;
    replica.counts = reported && lives && !replica.trimmed;
    replica.verified = replica.counts && (flags & ChunkRecord::kVerified) != 0;
    replica.expected = !reported && lives && !replica.trimmed &&
                       (flags & ChunkRecord::kLogged) != 0 && (flags & ChunkRecord::kCorrupt) == 0;
    replica.damaged = (flags & ChunkRecord::kCorrupt) != 0 && lens.Knows(server) && lives &&
                      !replica.trimmed;
    replica.draining = replica.present() && view.at(static_cast<size_t>(replica.position)).draining;
  });
  return picture;
}

}  // namespace ballast::master
