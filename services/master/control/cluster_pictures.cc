// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/cluster_pictures.h"

#include <utility>
#include <vector>

namespace ballast::master {

void ClusterPictures::NoticeTerm() {
  const RaftTerm term = view_.leader()->term();
  if (std::exchange(term_, term) != term) {
    kept_.clear();
    servers_.reset();
  }
}

const ClusterView& ClusterPictures::Servers() {
  NoticeTerm();
  const uint64_t registry = view_.directory().registry().version();
  const uint64_t facts = view_.leader()->facts_version();
  if (!servers_.has_value() || servers_registry_ != registry || servers_facts_ != facts) {
    servers_ = MakeServers();
    servers_registry_ = registry;
    servers_facts_ = facts;
  }
  return *servers_;
}

ClusterView ClusterPictures::MakeServers() const {
  const LeaderState& leader = *view_.leader();
  std::vector<ServerView> servers;
  servers.reserve(static_cast<size_t>(view_.directory().registry().servers_size()));
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
  NoticeTerm();
  const uint64_t version = leader.replicas.KnownVersion(shard);
  Kept& kept = kept_[shard];
  if (kept.version != version) {
    kept.version = version;
    kept.lens.shard = shard;
    kept.lens.known = leader.replicas.KnownServers(shard);
  }
  kept.lens.trims = trims;
  return &kept.lens;
}

}  // namespace ballast::master
