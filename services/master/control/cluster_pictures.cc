// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/cluster_pictures.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace ballast::master {

ClusterView ClusterPictures::Servers() const {
  const LeaderState& leader = *view_.leader();
  std::vector<ServerView> servers;
  for (const v1::RegisteredServer& entry : view_.directory().registry().servers()) {
    if (entry.state() == v1::SERVER_STATE_REMOVED) {
      continue;
    }
    const ServerIndex index(entry.server_index());
    const LivenessState liveness = leader.liveness.state(index);
    const ServerReport* const report = leader.FindReport(index);
    ServerView& server = servers.emplace_back();
    server.server = index;
    server.zone = entry.zone();
    server.managed = !entry.no_placement();
    server.live = server.managed &&
                  (liveness == LivenessState::kAlive || liveness == LivenessState::kSuspect);
    server.draining = entry.state() == v1::SERVER_STATE_DRAINING;
    if (report != nullptr) {
      server.capacity_bytes = report->capacity_bytes;
      server.used_bytes = report->capacity_bytes - leader.FreeBytes(index);
      server.utilization_pct = report->utilization_pct;
      server.accepts = MayTakeReplicas(entry) && report->health == v1::SERVER_HEALTH_OK &&
                       liveness == LivenessState::kAlive;
    }
  }
  return ClusterView(std::move(servers));
}

const ShardLens* ClusterPictures::LensOf(ShardId shard) {
  LeaderState& leader = *view_.leader();
  const TrimSet* const trims = view_.catalog().trims(shard);
  if (trims == nullptr || !leader.IsSettled(shard)) {
    return nullptr;
  }
  if (std::exchange(term_, leader.term()) != leader.term()) {
    kept_.clear();
  }
  // A server that registers later has reported nothing, so the number of servers counts too.
  const uint64_t version =
      leader.replicas.KnownVersion(shard) +
      (uint64_t{1} << 32) * static_cast<uint64_t>(view_.directory().registry().servers_size());
  Kept& kept = kept_[shard];
  if (kept.version != version) {
    kept.version = version;
    kept.lens.shard = shard;
    uint32_t last = 0;
    for (const v1::RegisteredServer& entry : view_.directory().registry().servers()) {
      last = std::max(last, entry.server_index());
    }
    kept.lens.known.assign(last + 1, false);
    for (const v1::RegisteredServer& entry : view_.directory().registry().servers()) {
      kept.lens.known[entry.server_index()] =
          leader.replicas.IsKnown(ServerIndex(entry.server_index()), shard);
    }
  }
  kept.lens.trims = trims;
  return &kept.lens;
}

}  // namespace ballast::master
