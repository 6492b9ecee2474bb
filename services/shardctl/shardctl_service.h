// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "protos/shardctl_service.grpc.pb.h"
#include "services/shardctl/control/watch_calls.h"
#include "services/shardctl/core/config_machine.h"
#include "services/shardctl/log_calls.h"

namespace ballast::shardctl {

// The ShardControl RPCs over the replicated log, as LogCalls does it.
//
// Concurrency: RPC methods on gRPC's threads; machine and watch calls on the executor.
// Ownership: all references must outlive the service.
class ShardctlService final : public v1::ShardControl::CallbackService {
 public:
  ShardctlService(LogCalls& calls, const ConfigMachine& machine, WatchCalls& watches)
      : calls_(calls), machine_(machine), watches_(watches) {}

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
  v1::Configuration ConfigurationOf(uint64_t version) const;

  LogCalls& calls_;
  const ConfigMachine& machine_;
  WatchCalls& watches_;
};

}  // namespace ballast::shardctl
