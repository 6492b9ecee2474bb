// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/btree_set.h"
#include "common/base/rng.h"
#include "common/env/clock.h"
#include "common/types/ids.h"
#include "protos/common.pb.h"
#include "services/master/core/leader_state.h"
#include "services/master/core/machine_catalog.h"
#include "services/master/core/master_machine.h"
#include "services/master/core/placement_view.h"
#include "services/master/core/server_directory.h"

namespace ballast::master {

// The volatile half of a master in one place: the registry, the state of the term while this node
// leads, and the faces that the durable half sees of them (PlacementView, ChunkObserver).
//
// Concurrency: the master's executor. Ownership: clock and machine outlive it; it is the machine's
// observer for as long as it lives.
class LiveView final : public PlacementView, public ChunkObserver {
 public:
  // `seed`: for the chance in placement; differs per start.
  LiveView(Clock& clock, MasterMachine& machine, uint64_t seed);
  ~LiveView() override;

  // This node leads in `term` and has applied everything committed before it.
  void BeginTerm(RaftTerm term);
  void EndTerm() { leader_.reset(); }
  // Null while this node does not lead.
  LeaderState* leader() { return leader_.get(); }

  // A registry from the shard controller. Returns the servers that were removed by it.
  std::vector<ServerIndex> SetRegistry(const v1::Registry& registry);
  const ServerDirectory& directory() const { return directory_; }

  MachineCatalog& catalog() { return catalog_; }
  MasterMachine& machine() { return machine_; }
  SteadyTime Now() { return clock_.SteadyNow(); }

  // Where others reach the server.
  v1::ReplicaLocation LocationOf(const v1::RegisteredServer& server) const;

  // A chunk server has read a chunk so many times for clients: the chunk's heat. Unknown ones are
  // ignored.
  void CountReads(ChunkHandle handle, uint64_t reads);
  // Whole half-lives of heat since this process began (heat.h).
  uint32_t HeatEpoch() const;

  // What commands about a chunk of this shard carry. Requires: leader().
  v1::Fence FenceOf(ShardId shard) const;

  struct Complaint {
    ChunkHandle handle;
    ServerIndex server;
    friend auto operator<=>(const Complaint&, const Complaint&) = default;
  };
  // Reported bad replicas since the last call, each once.
  std::vector<Complaint> TakeComplaints();

  // --- PlacementView ---
  absl::StatusOr<std::vector<Placement>> PlaceChunks(const PlacementRequest& request) override;
  std::vector<v1::ReplicaLocation> LiveReplicas(ChunkHandle handle,
                                                const ChunkRecord& record) const override;
  void ReportBadReplica(ChunkHandle handle, absl::string_view server_id,
                        v1::ReportBadReplicaRequest::Problem problem) override;
  std::vector<v1::ServerStatus> ServerStatuses() const override;
  Health ChunkHealth() const override;

  // --- ChunkObserver ---
  void OnChunkAdded(ChunkHandle handle, ChunkRecord& record) override;
  void OnLocationsChanged(ChunkHandle handle, ChunkRecord& record) override;
  void OnTrimsChanged(ChunkHandle handle) override;
  void OnChunkRemoved(ChunkHandle handle, const ChunkRecord& record) override;
  void OnShardReplaced(ShardId shard) override;

 private:
  LivenessState StateOf(const v1::RegisteredServer& server) const;

  Clock& clock_;
  MasterMachine& machine_;
  Rng rng_;
  MachineCatalog catalog_;
  ServerDirectory directory_;
  std::unique_ptr<LeaderState> leader_;
  absl::btree_set<Complaint> complaints_;
};

}  // namespace ballast::master
