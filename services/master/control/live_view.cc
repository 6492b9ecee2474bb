// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/live_view.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "absl/container/inlined_vector.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "services/master/core/heat.h"
#include "services/master/core/read_order.h"

namespace ballast::master {
namespace {

constexpr size_t kComplaintsMax = 4096;

v1::Liveness ToProto(LivenessState state) {
  switch (state) {
    case LivenessState::kUnknown:
      return v1::LIVENESS_UNKNOWN;
    case LivenessState::kAlive:
      return v1::LIVENESS_ALIVE;
    case LivenessState::kSuspect:
      return v1::LIVENESS_SUSPECT;
    case LivenessState::kDead:
      return v1::LIVENESS_DEAD;
  }
  return v1::LIVENESS_UNSPECIFIED;
}

std::string HealthText(const ServerReport& report) {
  if (!report.health_text.empty()) {
    return report.health_text;
  }
  switch (report.health) {
    case v1::SERVER_HEALTH_OK:
      return "ok";
    case v1::SERVER_HEALTH_LOADING:
      return "loading";
    case v1::SERVER_HEALTH_DEGRADED:
      return "degraded";
    case v1::SERVER_HEALTH_STOPPING:
      return "stopping";
    default:
      return "";
  }
}

}  // namespace

LiveView::LiveView(Clock& clock, MasterMachine& machine, uint64_t seed)
    : clock_(clock), machine_(machine), rng_(seed), catalog_(machine) {
  machine_.SetObserver(this);
}

LiveView::~LiveView() { machine_.SetObserver(nullptr); }

void LiveView::BeginTerm(RaftTerm term) {
  catalog_.Invalidate();
  leader_ = std::make_unique<LeaderState>(term, catalog_, directory_, Now());
  complaints_.clear();
}

std::vector<ServerIndex> LiveView::SetRegistry(const v1::Registry& registry) {
  if (!directory_.Set(registry) || leader_ == nullptr) {
    return {};
  }
  return leader_->OnRegistryChanged(Now());
}

void LiveView::CountReads(ChunkHandle handle, uint64_t reads) {
  if (ChunkTable* const table = catalog_.chunks(handle.shard())) {
    table->AddReads(handle.sequence(), reads, HeatEpoch(), rng_);
  }
}

uint32_t LiveView::HeatEpoch() const {
  return static_cast<uint32_t>(absl::ToInt64Seconds(clock_.SteadyNow().SinceOrigin()) /
                               absl::ToInt64Seconds(kHeatHalfLife));
}

v1::Fence LiveView::FenceOf(ShardId shard) const {
  CHECK(leader_ != nullptr);
  const Shard* const found = machine_.FindShard(shard);
  v1::Fence fence;
  fence.set_config_version(found == nullptr ? 0 : found->acquired_version().value());
  fence.set_term(leader_->term().value());
  return fence;
}

std::vector<LiveView::Complaint> LiveView::TakeComplaints() {
  std::vector<Complaint> taken(complaints_.begin(), complaints_.end());
  complaints_.clear();
  return taken;
}

v1::ReplicaLocation LiveView::LocationOf(const v1::RegisteredServer& server) const {
  v1::ReplicaLocation location;
  location.set_server_id(server.server_id());
  location.set_server_index(server.server_index());
  location.set_address(leader_ == nullptr ? server.address() : leader_->AddressOf(server));
  return location;
}

LivenessState LiveView::StateOf(const v1::RegisteredServer& server) const {
  if (server.state() == v1::SERVER_STATE_REMOVED) {
    return LivenessState::kDead;
  }
  return leader_ == nullptr ? LivenessState::kUnknown
                            : leader_->liveness.state(ServerIndex(server.server_index()));
}

absl::StatusOr<std::vector<Placement>> LiveView::PlaceChunks(const PlacementRequest& request) {
  if (leader_ == nullptr) {
    return NotLeaderError("");
  }
  if (!directory_.known()) {
    return NotReadyError("the registry of chunk servers has not come from shardctl yet",
                         absl::Milliseconds(500));
  }
  const ChunksToPlace wish{request.chunk_count, request.wanted_replicas, request.required_replicas,
                           request.chunk_bytes};
  ASSIGN_OR_RETURN(const Chains chains,
                   ballast::master::PlaceChunks(leader_->Candidates(request.avoid_server_ids),
                                                leader_->Census(), wish, rng_));
  std::vector<Placement> placements;
  for (const std::vector<ServerIndex>& chain : chains) {
    Placement& placement = placements.emplace_back();
    for (ServerIndex server : chain) {
      leader_->Promise(server, request.chunk_bytes, Now());
      placement.push_back(LocationOf(*directory_.Find(server)));
    }
  }
  return placements;
}

std::vector<v1::ReplicaLocation> LiveView::LiveReplicas(ChunkHandle handle,
                                                        const ChunkRecord& record) const {
  using Choice = std::tuple<ReadRank, uint64_t, const v1::RegisteredServer*>;
  absl::InlinedVector<Choice, ChunkRecord::kSlots> choices;
  const TrimSet* const trims = catalog_.trims(handle.shard());
  record.ForEachReplica([&](ServerIndex index, uint8_t flags) {
    const v1::RegisteredServer* const server = directory_.Find(index);
    if (server == nullptr || (trims != nullptr && trims->Contains(handle.sequence(), index))) {
      return;
    }
    const bool known = leader_ != nullptr && leader_->replicas.IsKnown(index, handle.shard());
    const ReadRank rank = RankReplica(StateOf(*server), known, flags);
    if (rank != ReadRank::kNone) {
      choices.emplace_back(rank, ReadPreference(handle, index), server);
    }
  });
  std::sort(choices.begin(), choices.end());
  std::vector<v1::ReplicaLocation> locations;
  locations.reserve(choices.size());
  for (const Choice& choice : choices) {
    locations.push_back(LocationOf(*std::get<const v1::RegisteredServer*>(choice)));
  }
  return locations;
}

void LiveView::ReportBadReplica(ChunkHandle handle, absl::string_view server_id,
                                v1::ReportBadReplicaRequest::Problem) {
  const v1::RegisteredServer* const server = directory_.FindById(server_id);
  if (leader_ != nullptr && server != nullptr && machine_.FindChunk(handle) != nullptr &&
      complaints_.size() < kComplaintsMax) {
    complaints_.insert({handle, ServerIndex(server->server_index())});
  }
}

std::vector<v1::ServerStatus> LiveView::ServerStatuses() const {
  std::vector<v1::ServerStatus> statuses;
  for (const v1::RegisteredServer& server : directory_.registry().servers()) {
    const ServerIndex index(server.server_index());
    const LivenessState state = StateOf(server);
    v1::ServerStatus& status = statuses.emplace_back();
    status.set_server_id(server.server_id());
    status.set_server_index(server.server_index());
    status.set_address(server.address());
    status.set_zone(server.zone());
    status.set_name(server.name());
    status.set_no_placement(server.no_placement());
    status.set_liveness(ToProto(state));
    status.set_admin_state(server.state());
    status.set_boot_epoch(server.boot_epoch());
    status.set_last_heartbeat_ms_ago(-1);
    if (leader_ == nullptr) {
      continue;
    }
    status.set_address(leader_->AddressOf(server));
    // What a dead server holds does not count.
    status.set_chunk_count(state == LivenessState::kDead ? 0
                                                         : leader_->replicas.ReplicaCount(index));
    status.set_quarantined_count(leader_->garbage.QuarantinedCount(index));
    if (const auto holder = leader_->liveness.holder(index)) {
      status.set_boot_epoch(holder->boot_epoch);
    }
    if (const auto ago = leader_->liveness.SinceHeartbeat(index, clock_.SteadyNow())) {
      status.set_last_heartbeat_ms_ago(absl::ToInt64Milliseconds(*ago));
    }
    if (const ServerReport* const report = leader_->FindReport(index)) {
      status.set_capacity_bytes(report->capacity_bytes);
      status.set_used_bytes(report->used_bytes);
      status.set_utilization_pct(report->utilization_pct);
      status.set_health(HealthText(*report));
      status.set_loading(report->health == v1::SERVER_HEALTH_LOADING);
    }
  }
  return statuses;
}

PlacementView::Health LiveView::ChunkHealth() const {
  if (leader_ == nullptr) {
    return {};
  }
  const LocationPlanner::Health& health = leader_->locations.health();
  return {health.without_live_replica, health.below_wanted};
}

void LiveView::OnChunkAdded(ChunkHandle handle, ChunkRecord& record) {
  if (leader_ != nullptr) {
    leader_->replicas.OnChunkAdded(handle, record);
  }
}

void LiveView::OnLocationsChanged(ChunkHandle handle, ChunkRecord& record) {
  // Live flags stay as reported, whatever the log says of locations. But with a location a slot may
  // have gone that a reported replica found taken.
  if (leader_ != nullptr) {
    leader_->replicas.OnChunkAdded(handle, record);
  }
}

void LiveView::OnTrimsChanged(ChunkHandle handle) {
  if (leader_ != nullptr) {
    leader_->trims.Note(handle);
  }
}

void LiveView::OnChunkRemoved(ChunkHandle handle, const ChunkRecord& record) {
  if (leader_ != nullptr) {
    leader_->replicas.OnChunkRemoved(handle, record);
  }
}

void LiveView::OnShardReplaced(ShardId shard) {
  catalog_.Invalidate();
  if (leader_ != nullptr) {
    leader_->replicas.OnShardReplaced(shard);
    leader_->ForgetSettled(shard);
    leader_->trims.NoteShard(shard);
  }
}

}  // namespace ballast::master
