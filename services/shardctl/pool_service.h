// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "protos/pool_service.grpc.pb.h"
#include "services/shardctl/control/watch_calls.h"
#include "services/shardctl/core/config_machine.h"
#include "services/shardctl/core/pool_rings.h"
#include "services/shardctl/log_calls.h"

namespace ballast::shardctl {

// The Pools RPCs over the replicated log, as LogCalls does it.
//
// Concurrency: RPC methods on gRPC's threads; machine, rings and watches on the executor.
// Ownership: all references must outlive the service.
class PoolService final : public v1::Pools::CallbackService {
 public:
  PoolService(LogCalls& calls, const ConfigMachine& machine, PoolWatches& watches)
      : calls_(calls), machine_(machine), watches_(watches) {}

  grpc::ServerUnaryReactor* CreatePool(grpc::CallbackServerContext* context,
                                       const v1::CreatePoolRequest* request,
                                       v1::CreatePoolResponse* response) override;
  grpc::ServerUnaryReactor* DeletePool(grpc::CallbackServerContext* context,
                                       const v1::DeletePoolRequest* request,
                                       v1::DeletePoolResponse* response) override;
  grpc::ServerUnaryReactor* PutPoolServer(grpc::CallbackServerContext* context,
                                          const v1::PutPoolServerRequest* request,
                                          v1::PutPoolServerResponse* response) override;
  grpc::ServerUnaryReactor* RemovePoolServer(grpc::CallbackServerContext* context,
                                             const v1::RemovePoolServerRequest* request,
                                             v1::RemovePoolServerResponse* response) override;
  grpc::ServerUnaryReactor* GetPool(grpc::CallbackServerContext* context,
                                    const v1::GetPoolRequest* request,
                                    v1::GetPoolResponse* response) override;
  grpc::ServerUnaryReactor* ListPools(grpc::CallbackServerContext* context,
                                      const v1::ListPoolsRequest* request,
                                      v1::ListPoolsResponse* response) override;
  grpc::ServerUnaryReactor* Route(grpc::CallbackServerContext* context,
                                  const v1::RouteRequest* request,
                                  v1::RouteResponse* response) override;
  grpc::ServerUnaryReactor* WatchPool(grpc::CallbackServerContext* context,
                                      const v1::WatchPoolRequest* request,
                                      v1::WatchPoolResponse* response) override;

 private:
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Change(grpc::CallbackServerContext* context, const Request& request,
                                   const std::string& pool, Response* response);

  LogCalls& calls_;
  const ConfigMachine& machine_;
  PoolWatches& watches_;
  PoolRings rings_;  // used on the executor
};

}  // namespace ballast::shardctl
