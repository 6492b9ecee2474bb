// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "common/types/shard_config.h"
#include "protos/master_service.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/master/core/results.h"
#include "tests/sim/chunk_checkers.h"
#include "tests/sim/chunk_network.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::testing {

class SimMaster;
class SimChunkServer;

// The shard controller as far as this world needs it: one configuration, the registry. Always up;
// its network may be cut. Concurrency: one thread.
class SimShardctl {
 public:
  SimShardctl(NetNode node, ShardConfig config, v1::Settings settings)
      : node_(node), config_(std::move(config)) {
    registry_.set_version(1);
    *registry_.mutable_settings() = std::move(settings);
  }

  NetNode node() const { return node_; }
  const ShardConfig& config() const { return config_; }
  const v1::Registry& registry() const { return registry_; }

  // As ConfigMachine: a lower boot epoch than registered is refused.
  absl::StatusOr<uint32_t> Register(const std::string& server_id, const std::string& address,
                                    const std::string& zone, uint64_t boot_epoch);
  void SetState(const std::string& server_id, v1::ServerState state);

 private:
  const NetNode node_;
  const ShardConfig config_;
  v1::Registry registry_;
};

// What every inhabitant of a simulated cluster sees of the rest.
struct ChunkWorld {
  SimScheduler& sim;
  ChunkNetwork& network;
  StreamHub& streams;
  ChunkChecker& checker;
  SimShardctl& shardctl;
  std::string cluster_id;
  // The process that listens at an address now; null if none does.
  std::function<SimMaster*(const std::string& address)> master_at;
  std::function<SimChunkServer*(const std::string& address)> server_at;
  std::function<void(const std::string& event)> trace;

  Rng& rng() { return sim.rng(); }
  absl::Duration now() { return sim.SteadyNow().SinceOrigin(); }
};

// Calls of MasterService that a client of this world makes.
struct OpenSession {
  ShardId shard;
};
struct MasterRequest {
  std::variant<OpenSession, v1::BeginWriteRequest, v1::AllocateChunksRequest, v1::SealChunksRequest,
               v1::CommitObjectRequest, v1::AbortWriteRequest, v1::DeleteObjectRequest,
               v1::GetObjectRequest, v1::ReportBadReplicaRequest>
      body;
};
struct MasterAnswer {
  absl::Status status;
  master::mlog::Result result;        // mutations
  v1::AllocateChunksResponse placed;  // BeginWrite, AllocateChunks
  v1::GetObjectResponse object;       // GetObject
};
using MasterReply = std::function<void(MasterAnswer)>;

}  // namespace ballast::testing
