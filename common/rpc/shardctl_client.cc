// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/shardctl_client.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/retry_policy.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "protos/pool_service.grpc.pb.h"
#include "protos/shardctl_service.grpc.pb.h"

namespace ballast {

struct ShardctlClient::State {
  using Stub = v1::ShardControl::Stub;
  using PoolStub = v1::Pools::Stub;
  template <typename StubType, typename Request, typename Response>
  using Method = grpc::Status (StubType::*)(grpc::ClientContext*, const Request&, Response*);

  explicit State(ShardctlClientOptions o)
      : options(std::move(o)), cluster_id(options.cluster_id), route(options.addresses) {}

  const ShardctlClientOptions options;
  ChannelPool channels;

  absl::Mutex mu;
  bool stopped ABSL_GUARDED_BY(mu) = false;
  int calls ABSL_GUARDED_BY(mu) = 0;  // of all threads, from their begin to their end
  std::set<grpc::ClientContext*> running ABSL_GUARDED_BY(mu);
  std::string cluster_id ABSL_GUARDED_BY(mu);
  LeaderRoute route ABSL_GUARDED_BY(mu);

  // One try at one address.
  template <typename StubType, typename Request, typename Response>
  absl::Status Try(const std::string& address, const std::string& cluster,
                   Method<StubType, Request, Response> method, const Request& request,
                   absl::Duration timeout, Response* response) {
    grpc::ClientContext context;
    PrepareContext(context, cluster, timeout);
    {
      absl::MutexLock lock(&mu);
      if (stopped) {
        return absl::CancelledError("the shardctl client was shut down");
      }
      running.insert(&context);
    }
    StubType stub(channels.Get(address));
    const absl::Status status = FromGrpc((stub.*method)(&context, request, response));
    absl::MutexLock lock(&mu);
    running.erase(&context);
    if (stopped && !status.ok()) {
      return absl::CancelledError("the shardctl client was shut down");
    }
    return status;
  }

  // Asks who the cluster is and keeps it; refuses another one than before.
  absl::Status Identify(const std::string& address, absl::Duration timeout,
                        v1::GetClusterResponse* response) {
    RETURN_IF_ERROR(
        Try(address, "", &Stub::GetCluster, v1::GetClusterRequest(), timeout, response));
    if (!IsUuid(response->cluster_id())) {
      return absl::DataLossError(absl::StrCat(address, " names no valid cluster id"));
    }
    absl::MutexLock lock(&mu);
    if (cluster_id.empty()) {
      cluster_id = response->cluster_id();
    }
    if (cluster_id != response->cluster_id()) {
      return MakeError(v1::REASON_WRONG_CLUSTER,
                       absl::StrCat(address, " belongs to cluster ", response->cluster_id(),
                                    ", not ", cluster_id));
    }
    return absl::OkStatus();
  }

  absl::Status TryCall(const std::string& address, absl::Duration timeout,
                       const v1::GetClusterRequest&,
                       Method<Stub, v1::GetClusterRequest, v1::GetClusterResponse>,
                       v1::GetClusterResponse* response) {
    return Identify(address, timeout, response);
  }

  template <typename StubType, typename Request, typename Response>
  absl::Status TryCall(const std::string& address, absl::Duration timeout, const Request& request,
                       Method<StubType, Request, Response> method, Response* response) {
    std::string cluster;
    {
      absl::MutexLock lock(&mu);
      cluster = cluster_id;
    }
    if (cluster.empty()) {
      v1::GetClusterResponse facts;
      RETURN_IF_ERROR(Identify(address, timeout, &facts));
      cluster = facts.cluster_id();
    }
    return Try(address, cluster, method, request, timeout, response);
  }

  // Waits; false if the client was shut down meanwhile.
  bool Pause(absl::Duration pause) {
    absl::MutexLock lock(&mu);
    mu.AwaitWithTimeout(absl::Condition(&stopped), pause);
    return !stopped;
  }

  template <typename StubType, typename Request, typename Response>
  absl::StatusOr<Response> Call(Method<StubType, Request, Response> method, const Request& request,
                                absl::Duration held = absl::ZeroDuration()) {
    {
      absl::MutexLock lock(&mu);
      ++calls;
    }
    const auto leave = absl::MakeCleanup([this] {
      absl::MutexLock lock(&mu);
      --calls;
    });
    Clock& clock = RealClock();
    const SteadyTime end = clock.SteadyNow() + options.total_timeout + held;
    Backoff backoff(options.backoff_min, options.backoff_max,
                    static_cast<uint64_t>(absl::ToInt64Nanoseconds(end.SinceOrigin())));
    while (true) {
      std::string address;
      {
        absl::MutexLock lock(&mu);
        address = route.current();
      }
      Response response;
      const absl::Duration left = end - clock.SteadyNow();
      const absl::Status status = TryCall(
          address, std::max(absl::Milliseconds(1), std::min(left, options.attempt_timeout + held)),
          request, method, &response);
      bool at_once = false;
      {
        absl::MutexLock lock(&mu);
        if (status.ok()) {
          route.OnSuccess();
          return response;
        }
        if (stopped || !IsRetryable(status)) {
          return status;
        }
        // Another thread may have moved on already; only the one that failed here does.
        at_once = route.current() != address || route.OnFailure(status);
      }
      const absl::Duration pause = at_once ? absl::ZeroDuration() : backoff.Next(status);
      if (clock.SteadyNow() + pause >= end) {
        return status;
      }
      if (!Pause(pause)) {
        return absl::CancelledError("the shardctl client was shut down");
      }
    }
  }
};

ShardctlClient::ShardctlClient(ShardctlClientOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}

ShardctlClient::~ShardctlClient() {
  Shutdown();
  absl::MutexLock lock(&state_->mu);
  state_->mu.Await(absl::Condition(
      +[](int* calls) { return *calls == 0; }, &state_->calls));
}

void ShardctlClient::Shutdown() {
  absl::MutexLock lock(&state_->mu);
  state_->stopped = true;
  for (grpc::ClientContext* context : state_->running) {
    context->TryCancel();
  }
}

std::string ShardctlClient::cluster_id() const {
  absl::MutexLock lock(&state_->mu);
  return state_->cluster_id;
}

absl::StatusOr<v1::GetClusterResponse> ShardctlClient::GetCluster() {
  return state_->Call(&State::Stub::GetCluster, v1::GetClusterRequest());
}

absl::StatusOr<v1::JoinResponse> ShardctlClient::Join(const v1::JoinRequest& request) {
  return state_->Call(&State::Stub::Join, request);
}

absl::StatusOr<v1::LeaveResponse> ShardctlClient::Leave(const v1::LeaveRequest& request) {
  return state_->Call(&State::Stub::Leave, request);
}

absl::StatusOr<v1::MoveResponse> ShardctlClient::Move(const v1::MoveRequest& request) {
  return state_->Call(&State::Stub::Move, request);
}

absl::StatusOr<v1::QueryResponse> ShardctlClient::Query(const v1::QueryRequest& request) {
  return state_->Call(&State::Stub::Query, request);
}

absl::StatusOr<v1::WatchResponse> ShardctlClient::Watch(const v1::WatchRequest& request) {
  return state_->Call(&State::Stub::Watch, request, absl::Milliseconds(request.wait_ms()));
}

absl::StatusOr<v1::RegisterChunkServerResponse> ShardctlClient::RegisterChunkServer(
    const v1::RegisterChunkServerRequest& request) {
  return state_->Call(&State::Stub::RegisterChunkServer, request);
}

absl::StatusOr<v1::SetServerStateResponse> ShardctlClient::SetServerState(
    const v1::SetServerStateRequest& request) {
  return state_->Call(&State::Stub::SetServerState, request);
}

absl::StatusOr<v1::UpdateSettingsResponse> ShardctlClient::UpdateSettings(
    const v1::UpdateSettingsRequest& request) {
  return state_->Call(&State::Stub::UpdateSettings, request);
}

absl::StatusOr<v1::CreatePoolResponse> ShardctlClient::CreatePool(
    const v1::CreatePoolRequest& request) {
  return state_->Call(&State::PoolStub::CreatePool, request);
}

absl::StatusOr<v1::DeletePoolResponse> ShardctlClient::DeletePool(
    const v1::DeletePoolRequest& request) {
  return state_->Call(&State::PoolStub::DeletePool, request);
}

absl::StatusOr<v1::PutPoolServerResponse> ShardctlClient::PutPoolServer(
    const v1::PutPoolServerRequest& request) {
  return state_->Call(&State::PoolStub::PutPoolServer, request);
}

absl::StatusOr<v1::RemovePoolServerResponse> ShardctlClient::RemovePoolServer(
    const v1::RemovePoolServerRequest& request) {
  return state_->Call(&State::PoolStub::RemovePoolServer, request);
}

absl::StatusOr<v1::GetPoolResponse> ShardctlClient::GetPool(const v1::GetPoolRequest& request) {
  return state_->Call(&State::PoolStub::GetPool, request);
}

absl::StatusOr<v1::ListPoolsResponse> ShardctlClient::ListPools() {
  return state_->Call(&State::PoolStub::ListPools, v1::ListPoolsRequest());
}

absl::StatusOr<v1::RouteResponse> ShardctlClient::Route(const v1::RouteRequest& request) {
  return state_->Call(&State::PoolStub::Route, request);
}

absl::StatusOr<v1::WatchPoolResponse> ShardctlClient::WatchPool(
    const v1::WatchPoolRequest& request) {
  return state_->Call(&State::PoolStub::WatchPool, request, absl::Milliseconds(request.wait_ms()));
}

}  // namespace ballast
