// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

#include "common/env/executor.h"
#include "common/raft/replicated_log.h"
#include "common/types/ids.h"
#include "protos/shardctl_service.grpc.pb.h"
#include "services/shardctl/control/watch_calls.h"
#include "services/shardctl/core/config_machine.h"

namespace ballast::shardctl {

struct ServiceFacts {
  std::string cluster_id;
  uint32_t shard_count = 0;
  std::map<NodeId, std::string> addresses;  // of all voters, for NOT_LEADER hints
};

// The ShardControl RPCs over a replicated log: validate, propose, answer or redirect.
//
// Guarantees: mutations are answered OK only when committed and applied; Query and Watch begin with
// a read barrier, so they show at least everything acknowledged before they were called. Reactions
// of gRPC never block; a call is finished exactly once, also when the log drops it. When this node
// stops being leader, calls that wait in Watch end with NOT_LEADER.
// Concurrency: RPC methods on gRPC's threads; Attach and Detach on `executor`, which also owns the
// machine and the watch calls.
// Ownership: all references must outlive the service; `executor` must run until the gRPC server has
// shut down, and have ended before the service is destroyed.
class ShardctlService final : public v1::ShardControl::CallbackService {
 public:
  ShardctlService(Executor& executor, const ConfigMachine& machine, WatchCalls& watches,
                  ServiceFacts facts);

  // From now on calls are served from `log` (before: NOT_READY). Takes the log's role observer.
  void Attach(ReplicatedLog& log);
  // Afterwards the log is not used; waiting calls have been answered, later ones get NOT_READY.
  void Detach();

  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext* context,
                                       const v1::GetClusterRequest* request,
                                       v1::GetClusterResponse* response) override;
  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                 const v1::JoinRequest* request,
                                 v1::JoinResponse* response) override;
  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context,
                                  const v1::LeaveRequest* request,
                                  v1::LeaveResponse* response) override;
  grpc::ServerUnaryReactor* Move(grpc::CallbackServerContext* context,
                                 const v1::MoveRequest* request,
                                 v1::MoveResponse* response) override;
  grpc::ServerUnaryReactor* Query(grpc::CallbackServerContext* context,
                                  const v1::QueryRequest* request,
                                  v1::QueryResponse* response) override;
  grpc::ServerUnaryReactor* Watch(grpc::CallbackServerContext* context,
                                  const v1::WatchRequest* request,
                                  v1::WatchResponse* response) override;
  grpc::ServerUnaryReactor* RegisterChunkServer(grpc::CallbackServerContext* context,
                                                const v1::RegisterChunkServerRequest* request,
                                                v1::RegisterChunkServerResponse* response) override;
  grpc::ServerUnaryReactor* SetServerState(grpc::CallbackServerContext* context,
                                           const v1::SetServerStateRequest* request,
                                           v1::SetServerStateResponse* response) override;
  grpc::ServerUnaryReactor* UpdateSettings(grpc::CallbackServerContext* context,
                                           const v1::UpdateSettingsRequest* request,
                                           v1::UpdateSettingsResponse* response) override;

 private:
  class WatchReactor;

  // Proposes the request's command; `fill` makes the response of the applied result, on the
  // executor.
  template <typename Request, typename Fill>
  grpc::ServerUnaryReactor* Mutate(grpc::CallbackServerContext* context, const Request& request,
                                   Fill fill);
  // With a hint to the leader, if the log said NOT_LEADER.
  absl::Status WithHint(const absl::Status& status) const;
  v1::Configuration ConfigurationOf(uint64_t version) const;

  Executor& executor_;
  const ConfigMachine& machine_;
  WatchCalls& watches_;
  const ServiceFacts facts_;
  std::atomic<uint64_t> next_watch_{1};
  ReplicatedLog* log_ = nullptr;  // owned by the executor
};

}  // namespace ballast::shardctl
