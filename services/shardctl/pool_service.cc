// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/pool_service.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/routing/shard_router.h"
#include "services/shardctl/core/pool_table.h"

namespace ballast::shardctl {
namespace {

constexpr size_t kRouteKeyBytesMax = 65536;

}  // namespace

// Answers with the pool as it is after the change. It may have been deleted since by somebody else,
// between the log and here: then the answer names it without servers.
template <typename Request, typename Response>
grpc::ServerUnaryReactor* PoolService::Change(grpc::CallbackServerContext* context,
                                              const Request& request, const std::string& pool,
                                              Response* response) {
  return calls_.Mutate(context, request, [this, pool, response](const log::Result&) {
    if (const PoolTable::Pool* const known = machine_.pools().Find(pool)) {
      *response->mutable_pool() = ToWire(*known);
    } else {
      response->mutable_pool()->set_name(pool);
    }
  });
}

grpc::ServerUnaryReactor* PoolService::CreatePool(grpc::CallbackServerContext* context,
                                                  const v1::CreatePoolRequest* request,
                                                  v1::CreatePoolResponse* response) {
  return Change(context, *request, request->name(), response);
}

grpc::ServerUnaryReactor* PoolService::DeletePool(grpc::CallbackServerContext* context,
                                                  const v1::DeletePoolRequest* request,
                                                  v1::DeletePoolResponse*) {
  return calls_.Mutate(context, *request, [](const log::Result&) {});
}

grpc::ServerUnaryReactor* PoolService::PutPoolServer(grpc::CallbackServerContext* context,
                                                     const v1::PutPoolServerRequest* request,
                                                     v1::PutPoolServerResponse* response) {
  return Change(context, *request, request->pool(), response);
}

grpc::ServerUnaryReactor* PoolService::RemovePoolServer(grpc::CallbackServerContext* context,
                                                        const v1::RemovePoolServerRequest* request,
                                                        v1::RemovePoolServerResponse* response) {
  return Change(context, *request, request->pool(), response);
}

grpc::ServerUnaryReactor* PoolService::GetPool(grpc::CallbackServerContext* context,
                                               const v1::GetPoolRequest* request,
                                               v1::GetPoolResponse* response) {
  return calls_.Read(context, [this, name = request->name(), response]() -> absl::Status {
    const PoolTable::Pool* const pool = machine_.pools().Find(name);
    if (pool == nullptr) {
      return NoPool(name);
    }
    *response->mutable_pool() = ToWire(*pool);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PoolService::ListPools(grpc::CallbackServerContext* context,
                                                 const v1::ListPoolsRequest*,
                                                 v1::ListPoolsResponse* response) {
  return calls_.Read(context, [this, response]() -> absl::Status {
    for (const auto& [name, pool] : machine_.pools().pools()) {
      v1::ListPoolsResponse::Entry* const entry = response->add_pools();
      entry->set_name(name);
      entry->set_version(pool.version());
      entry->set_server_count(static_cast<uint32_t>(pool.servers_size()));
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PoolService::Route(grpc::CallbackServerContext* context,
                                             const v1::RouteRequest* request,
                                             v1::RouteResponse* response) {
  if (request->key().size() > kRouteKeyBytesMax) {
    return FinishNow(context, InvalidArgument(absl::StrCat("a key to route has at most ",
                                                           kRouteKeyBytesMax, " bytes")));
  }
  return calls_.Read(context,
                     [this, name = request->pool(), hash = StableHash(request->key()),
                      count = std::max(request->count(), 1u), response]() -> absl::Status {
                       const PoolTable::Pool* const pool = machine_.pools().Find(name);
                       if (pool == nullptr) {
                         return NoPool(name);
                       }
                       const HashRing& ring = rings_.RingOf(*pool);
                       for (const uint32_t server : ring.Successors(hash, count)) {
                         response->add_servers(ring.servers()[server].id);
                       }
                       response->set_pool_version(pool->version());
                       return absl::OkStatus();
                     });
}

grpc::ServerUnaryReactor* PoolService::WatchPool(grpc::CallbackServerContext* context,
                                                 const v1::WatchPoolRequest* request,
                                                 v1::WatchPoolResponse* response) {
  return calls_.Poll(context, watches_, request, response);
}

}  // namespace ballast::shardctl
