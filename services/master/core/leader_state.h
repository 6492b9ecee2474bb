// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/command_ledger.h"
#include "services/master/core/copy_table.h"
#include "services/master/core/garbage_planner.h"
#include "services/master/core/live_replicas.h"
#include "services/master/core/liveness.h"
#include "services/master/core/location_planner.h"
#include "services/master/core/placement.h"
#include "services/master/core/server_directory.h"
#include "services/master/core/trim_planner.h"

namespace ballast::master {

// False for servers that get no new replicas, whatever their state.
bool MayTakeReplicas(const v1::RegisteredServer& server);

// What a server's latest heartbeat said of the server itself.
struct ServerReport {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t incoming_bytes = 0;
  double utilization_pct = 0;
  v1::ServerHealth health = v1::SERVER_HEALTH_UNSPECIFIED;
  std::string health_text;
  std::string address;
  friend bool operator==(const ServerReport&, const ServerReport&) = default;
};

// Everything a leader knows only from heartbeats, and only for its term: made when the term begins,
// dropped with it, so that nothing an earlier term believed can be acted on.
//
// Concurrency: none. Ownership: catalog and directory outlive it.
class LeaderState {
 public:
  LeaderState(RaftTerm term, ChunkCatalog& catalog, const ServerDirectory& directory,
              SteadyTime now);

  RaftTerm term() const { return term_; }
  const ServerDirectory& directory() const { return directory_; }

  // The directory has changed. Removed servers are forgotten; returns them.
  std::vector<ServerIndex> OnRegistryChanged(SteadyTime now);

  // A shard is *settled* once every registered server has reported it completely in this term or is
  // dead (was silent for a full window), and stays so: before, unknown is not lost. None is before
  // the registry is known.
  bool IsSettled(ShardId shard);
  void ForgetSettled(ShardId shard) { settled_.erase(shard); }

  // --- placement ---------------------------------------------------------------------------------
  // Servers that may take new replicas; `avoid_ids` are marked.
  std::vector<PlacementCandidate> Candidates(const std::vector<std::string>& avoid_ids) const;
  ServerCensus Census() const;
  // Room on a server after what is being written to it and was promised to others. 0 if it has not
  // reported.
  uint64_t FreeBytes(ServerIndex server) const;
  // `bytes` will probably be written to `server`: counted as used until that shows in its reports,
  // or for three heartbeat intervals.
  void Promise(ServerIndex server, uint64_t bytes, SteadyTime now);
  // `count` new replicas showed on the server: as many promises, oldest first, are kept.
  void KeepPromises(ServerIndex server, uint64_t count);
  void ExpirePromises(SteadyTime now);

  // Null if it has not reported in this term.
  const ServerReport* FindReport(ServerIndex server) const;
  void SetReport(ServerIndex server, ServerReport report);
  // Changes whenever what FindReport, FreeBytes or liveness say of some server may have changed.
  uint64_t facts_version() const { return facts_version_ + liveness.transition_count(); }

  // Where the server can be reached: as it said itself, else as registered.
  const std::string& AddressOf(const v1::RegisteredServer& server) const;

  // Parts with contracts of their own.
  Liveness liveness;
  LiveReplicas replicas;
  GarbagePlanner garbage;
  LocationPlanner locations;
  CommandLedger ledger;
  CopyTable copies;
  TrimPlanner trims;

 private:
  struct Promised {
    void DropFirst();
    std::deque<std::pair<SteadyTime, uint64_t>> chunks;  // until when, bytes
    uint64_t bytes = 0;
  };

  const RaftTerm term_;
  const ServerDirectory& directory_;
  absl::btree_map<ServerIndex, ServerReport> reports_;
  absl::btree_map<ServerIndex, Promised> promised_;  // with at least one promise
  uint64_t facts_version_ = 0;
  absl::btree_set<ShardId> settled_;
  absl::btree_map<ShardId, ServerIndex> waits_for_;  // a server that was found to keep it unsettled
};

}  // namespace ballast::master
